import { outcomeSchema, startPayloadSchema, wireCommandSchema } from '@streamspace/protocol';
import { z } from 'zod';

/**
 * What the journal is made of. A command's life is `received`, `begun` (once for each process that
 * began it), `ended`, `confirmed`; compaction writes what is left of an ended one as `settled`, and
 * what is known of a session as `session`.
 */
export const journalEntrySchema = z.discriminatedUnion('type', [
  z.object({ type: z.literal('journal'), version: z.literal(1), journalId: z.string() }),
  z.object({ type: z.literal('boot'), boot: z.int() }),
  z.object({ type: z.literal('received'), command: wireCommandSchema }),
  z.object({ type: z.literal('begun'), commandId: z.string(), boot: z.int(), at: z.int() }),
  z.object({ type: z.literal('released'), commandId: z.string(), boot: z.int() }),
  z.object({
    type: z.literal('ended'),
    commandId: z.string(),
    outcome: outcomeSchema,
    at: z.int(),
  }),
  z.object({ type: z.literal('confirmed'), commandId: z.string(), at: z.int() }),
  z.object({
    type: z.literal('settled'),
    commandId: z.string(),
    attempt: z.int(),
    sessionId: z.string().nullable(),
    outcome: outcomeSchema,
    endedAt: z.int(),
    confirmedAt: z.int().nullable(),
  }),
  z.object({
    type: z.literal('session'),
    sessionId: z.string(),
    generation: z.int(),
    commandId: z.string(),
    spec: startPayloadSchema.optional(),
    isGone: z.boolean(),
    changedAt: z.int(),
  }),
]);

export type JournalEntry = z.infer<typeof journalEntrySchema>;
