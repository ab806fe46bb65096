import { z } from 'zod';
import { pageOf, pageQuerySchema } from './page.ts';

/** `pending` -> `sent` -> `acknowledged` -> one of the endings; never backwards once it has ended. */
export const commandStatusSchema = z
  .enum(['pending', 'sent', 'acknowledged', 'completed', 'failed', 'expired', 'cancelled'])
  .meta({ id: 'CommandStatus' });

export type CommandStatus = z.infer<typeof commandStatusSchema>;

export const sessionActionSchema = z.enum([
  'start_session',
  'stop_session',
  'hibernate_session',
  'wake_session',
]);
export type SessionAction = z.infer<typeof sessionActionSchema>;

/** Commands for the agent itself: `ping` answers with the host's name and clock, through the whole durable path. */
export const agentActionSchema = z.enum(['ping']);
export type AgentAction = z.infer<typeof agentActionSchema>;

export const commandSchema = z
  .object({
    id: z.string(),
    agentId: z.string().nullable(),
    sessionId: z.string().nullable(),
    action: z.string(),
    status: commandStatusSchema,
    seq: z.string().nullable().describe('Place in the agent’s queue, an int64 as text.'),
    generation: z.int().nullable(),
    attempt: z.int().describe('How often it was claimed for delivery.'),
    sentEpoch: z.int().nullable().describe('The connection epoch it was last sent under.'),
    sentBy: z.string().nullable().describe('The replica that sent it last.'),
    errorCode: z.string().nullable(),
    errorMessage: z.string().nullable(),
    result: z.unknown(),
    createdAt: z.iso.datetime(),
    updatedAt: z.iso.datetime(),
    sentAt: z.iso.datetime().nullable(),
    acknowledgedAt: z.iso.datetime().nullable(),
    completedAt: z.iso.datetime().nullable(),
    expiresAt: z.iso
      .datetime()
      .nullable()
      .describe('Not delivered after this; null: never expires.'),
    cancelRequestedAt: z.iso.datetime().nullable(),
  })
  .meta({ id: 'Command' });

export type Command = z.infer<typeof commandSchema>;

export const commandPageSchema = pageOf(commandSchema).meta({ id: 'CommandPage' });

export const commandQuerySchema = pageQuerySchema.extend({
  status: commandStatusSchema.optional(),
  agentId: z.string().max(255).optional(),
  sessionId: z.string().max(255).optional(),
  action: z.string().max(50).optional(),
});

export type CommandQuery = z.infer<typeof commandQuerySchema>;

export const createAgentCommandSchema = z
  .strictObject({ action: agentActionSchema })
  .meta({ id: 'CreateAgentCommand' });
