import { z } from 'zod';
import { agentStateSchema, sessionSchema } from './session.ts';
import { commandStatusSchema } from './command.ts';

/**
 * What `GET /events` sends. `userId` is whose it is: a user gets only their own; agents' events
 * (null) are for operators and admins.
 */
export const liveEventSchema = z
  .discriminatedUnion('type', [
    z.object({ type: z.literal('session'), userId: z.string(), session: sessionSchema }),
    z.object({
      type: z.literal('command'),
      userId: z.string().nullable(),
      command: z.object({
        id: z.string(),
        agentId: z.string().nullable(),
        sessionId: z.string().nullable(),
        action: z.string(),
        status: commandStatusSchema,
        errorCode: z.string().nullable(),
        errorMessage: z.string().nullable(),
        updatedAt: z.iso.datetime(),
      }),
    }),
    z.object({
      type: z.literal('agent'),
      userId: z.null(),
      agent: z.object({
        agentId: z.string(),
        state: agentStateSchema,
        connectionEpoch: z.int(),
        replica: z.string().nullable(),
      }),
    }),
  ])
  .meta({ id: 'LiveEvent' });

export type LiveEvent = z.infer<typeof liveEventSchema>;
