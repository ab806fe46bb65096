import { callFunction, sessionRowSchema, toSessionEvent } from '@streamspace/database';
import type { Knex } from 'knex';
import { z } from 'zod';
import type { LiveEventPublisher } from './collaborators.ts';

export interface FailedSession {
  readonly sessionId: string;
  readonly agentId: string;
  readonly generation: number;
  readonly code: string;
  readonly message: string;
  /** Only if nothing has changed since. */
  readonly before?: Date;
}

/** Sessions that are gone from where they ran fail with a code and a sentence; see `fail_sessions`. */
export async function failSessions(
  { db, events }: { readonly db: Knex; readonly events: LiveEventPublisher },
  sessions: readonly FailedSession[],
): Promise<void> {
  if (sessions.length === 0) return;
  const entries = sessions.map(({ sessionId, agentId, ...rest }) => ({
    session_id: sessionId,
    agent_id: agentId,
    ...rest,
  }));
  const failed = await callFunction(db, 'fail_sessions', entries);
  events.publish(z.array(sessionRowSchema).parse(failed).map(toSessionEvent));
}
