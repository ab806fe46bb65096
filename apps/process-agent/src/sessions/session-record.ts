import { startPayloadSchema } from '@streamspace/protocol';
import { z } from 'zod';

/** What is known of a session on this machine, in its directory, so that it outlives the agent. */
export const sessionRecordSchema = z.object({
  sessionId: z.string(),
  /** The operation that brought it up last. */
  generation: z.int(),
  state: z.enum(['starting', 'running', 'hibernated', 'failed']),
  spec: startPayloadSchema,
  /** With the names that the template gives them; the first one is the session's own. */
  ports: z.array(z.object({ name: z.string(), port: z.int() })).min(1),
  /** An X display that is kept free for it, where its protocol is VNC. */
  display: z.int().nullable(),
  /** The leader of its process group; null before it was spawned and when it was ended. */
  leader: z.object({ pid: z.int(), startTime: z.string(), bootId: z.string() }).nullable(),
  /** How it ended by itself, in a sentence: told again by every later agent, as one may die in between. */
  failure: z.string().nullable(),
});

export type SessionRecord = z.infer<typeof sessionRecordSchema>;
