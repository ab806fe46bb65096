import { z } from 'zod';
import { commandSchema } from './command.ts';
import { labelsSchema, nameSchema } from './labels.ts';
import { pageOf, pageQuerySchema } from './page.ts';
import { envSchema, resourcesSchema } from './resources.ts';

/**
 * A session's life:
 *
 *     pending -> starting -> running -> hibernating -> hibernated -> waking -> running
 *     any of them -> terminating -> terminated        any of them -> failed -> terminating
 *
 * `terminated` is final. Phase and reason are fields, not states.
 */
export const sessionStateSchema = z
  .enum([
    'pending',
    'starting',
    'running',
    'hibernating',
    'hibernated',
    'waking',
    'terminating',
    'terminated',
    'failed',
  ])
  .meta({ id: 'SessionState' });

export type SessionState = z.infer<typeof sessionStateSchema>;

export const streamProtocolSchema = z.enum(['vnc', 'http']);
export type StreamProtocol = z.infer<typeof streamProtocolSchema>;

export const agentStateSchema = z.enum(['online', 'lost', 'offline']).meta({ id: 'AgentState' });
export type AgentState = z.infer<typeof agentStateSchema>;

export const sessionSchema = z
  .object({
    id: z.string(),
    name: z.string().nullable(),
    userId: z.string(),
    template: z.string(),
    state: sessionStateSchema,
    desiredState: z.enum(['running', 'hibernated', 'terminated']),
    generation: z.int().describe('Version of the desired state; up by one with every action.'),
    phase: z.string().nullable().describe('What the agent is doing: pulling, starting, ...'),
    message: z.string().nullable().describe('The agent’s sentence about the phase.'),
    error: z.object({ code: z.string(), message: z.string() }).nullable(),
    agentId: z.string().nullable(),
    agentState: agentStateSchema.nullable(),
    platform: z.string().nullable(),
    protocol: streamProtocolSchema,
    labels: labelsSchema,
    resources: resourcesSchema,
    endpoint: z
      .object({ host: z.string(), port: z.int() })
      .nullable()
      .describe('Where the session listens, as its agent sees it.'),
    createdAt: z.iso.datetime(),
    updatedAt: z.iso.datetime(),
    startedAt: z.iso.datetime().nullable(),
    endedAt: z.iso.datetime().nullable(),
  })
  .meta({ id: 'Session' });

export type Session = z.infer<typeof sessionSchema>;

export const createSessionSchema = z
  .strictObject({
    template: nameSchema,
    name: z.string().min(1).max(100).optional(),
    agentId: z
      .string()
      .min(1)
      .max(255)
      .optional()
      .describe('Only this agent, also while it is away.'),
    platform: nameSchema.optional(),
    region: nameSchema.optional(),
    labels: labelsSchema.optional().describe('Labels that the agent must have.'),
    resources: resourcesSchema.optional(),
    env: envSchema.optional().describe('Write-only: never shown again.'),
  })
  .meta({ id: 'CreateSession' });

export type CreateSession = z.infer<typeof createSessionSchema>;

/** `command` is null where the action needed none, for example a second DELETE of what has ended. */
export const sessionAndCommandSchema = z
  .object({ session: sessionSchema, command: commandSchema.nullable() })
  .meta({ id: 'SessionAndCommand' });

export type SessionAndCommand = z.infer<typeof sessionAndCommandSchema>;

export const sessionPageSchema = pageOf(sessionSchema).meta({ id: 'SessionPage' });

export const sessionQuerySchema = pageQuerySchema.extend({
  state: sessionStateSchema.optional(),
  agentId: z.string().max(255).optional(),
  userId: z.string().max(255).optional(),
  template: z.string().max(255).optional(),
});

export type SessionQuery = z.infer<typeof sessionQuerySchema>;
