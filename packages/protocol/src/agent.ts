import { z } from 'zod';
import { labelsSchema, nameSchema } from './labels.ts';
import { pageOf, pageQuerySchema } from './page.ts';
import { capacitySchema } from './resources.ts';
import { agentStateSchema } from './session.ts';

export const agentSchema = z
  .object({
    agentId: z.string(),
    platform: z.string(),
    region: z.string().nullable(),
    labels: labelsSchema,
    state: agentStateSchema,
    cordoned: z.boolean(),
    connectionEpoch: z.int(),
    replica: z.string().nullable().describe('The replica that holds its connection.'),
    connectedAt: z.iso.datetime().nullable(),
    disconnectedAt: z.iso.datetime().nullable(),
    capacity: capacitySchema,
    load: z
      .object({
        sessions: z.int(),
        cpu: z.string(),
        memory: z.string(),
      })
      .describe('What is reserved by its sessions.'),
    queueLength: z.int().describe('Commands that have not ended; counted up to 1,001.'),
    version: z.string().nullable(),
    notice: z
      .object({ code: z.string(), message: z.string() })
      .nullable()
      .describe('What an operator should know, for example two hosts with this identity.'),
    createdAt: z.iso.datetime(),
    updatedAt: z.iso.datetime(),
  })
  .meta({ id: 'Agent' });

export type Agent = z.infer<typeof agentSchema>;

export const createAgentSchema = z
  .strictObject({
    agentId: nameSchema,
    platform: nameSchema,
    region: nameSchema.optional(),
    labels: labelsSchema.optional(),
  })
  .meta({ id: 'CreateAgent' });

export type CreateAgent = z.infer<typeof createAgentSchema>;

/** The key is shown this once; a replay under the same Idempotency-Key has `secretShown` in its place. */
export const agentAndKeySchema = z
  .object({
    agent: agentSchema,
    key: z.string().optional(),
    secretShown: z.literal(true).optional(),
    previousKeyExpiresAt: z.iso.datetime().nullable().optional(),
  })
  .meta({ id: 'AgentAndKey' });

export type AgentAndKey = z.infer<typeof agentAndKeySchema>;

export const rotateKeySchema = z
  .strictObject({
    graceSeconds: z
      .int()
      .min(0)
      .max(604_800)
      .default(3600)
      .describe('How long the old key still serves.'),
  })
  .meta({ id: 'RotateKey' });

export const agentPageSchema = pageOf(agentSchema).meta({ id: 'AgentPage' });

export const agentQuerySchema = pageQuerySchema.extend({
  state: agentStateSchema.optional(),
  platform: z.string().max(255).optional(),
  region: z.string().max(255).optional(),
});

export type AgentQuery = z.infer<typeof agentQuerySchema>;

export const agentDrainSchema = z
  .object({ agent: agentSchema, stopping: z.int().describe('Sessions that are being stopped.') })
  .meta({ id: 'AgentDrain' });

export type AgentDrain = z.infer<typeof agentDrainSchema>;

/** A live round trip. */
export const agentPingSchema = z
  .object({
    roundTripMs: z.number(),
    replica: z.string().nullable().describe('The replica that holds its connection.'),
    epoch: z.int(),
  })
  .meta({ id: 'AgentPing' });

export type AgentPing = z.infer<typeof agentPingSchema>;
