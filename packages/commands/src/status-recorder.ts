import { queryRows, sessionRowSchema, toSessionEvent } from '@streamspace/database';
import type { SessionStatus } from '@streamspace/protocol';
import type { Knex } from 'knex';
import { Batcher } from './batcher.ts';
import type { LiveEventPublisher } from './collaborators.ts';
import { failSessions } from './fail-sessions.ts';

export interface ObservedStatus {
  readonly agentId: string;
  /** The epoch of the socket it came on. */
  readonly epoch: number;
  readonly status: SessionStatus;
}

/**
 * A status counts for the session's current generation and only if (epoch, sequence) is higher than
 * what is stored; it never leaves `terminated`. Progress moves `pending` to `starting`; that a session
 * runs or could not start is its command's result to say.
 */
const RECORD_PROGRESS = `
with entry as (
  select * from jsonb_to_recordset(:entries::jsonb) as e(session_id text, agent_id text, generation bigint,
    epoch bigint, seq bigint, state text, phase text, message text)
), locked as (
  select s.id, e.phase, e.message, e.epoch, e.seq
  from sessions s join entry e on e.session_id = s.id and e.agent_id = s.agent_id
  where s.generation = e.generation and (s.observed_epoch, s.observed_seq) < (e.epoch, e.seq)
    and s.state not in ('terminated', 'terminating', 'failed')
  order by s.id for no key update of s
), updated as (
  update sessions s set state = case when s.state = 'pending' then 'starting' else s.state end,
    phase = l.phase, message = l.message, observed_epoch = l.epoch, observed_seq = l.seq, updated_at = now()
  from locked l
  where s.id = l.id
  returning s.*
)
select session_row(updated::sessions) as session from updated`;

export class StatusRecorder {
  readonly #db: Knex;
  readonly #events: LiveEventPublisher;
  readonly #batcher: Batcher<ObservedStatus, true>;

  constructor({ db, events }: { readonly db: Knex; readonly events: LiveEventPublisher }) {
    this.#db = db;
    this.#events = events;
    this.#batcher = new Batcher((statuses) => this.#store(statuses), { maxItems: 500 });
  }

  async record(status: ObservedStatus): Promise<void> {
    await this.#batcher.add(status);
  }

  async #store(statuses: readonly ObservedStatus[]): Promise<readonly true[]> {
    const latest = new Map<string, ObservedStatus>();
    for (const observed of statuses) {
      const key = `${observed.agentId} ${observed.status.sessionId}`;
      const held = latest.get(key);
      if (!held || isLater(observed, held)) latest.set(key, observed);
    }
    const entries = [...latest.values()];
    await failSessions(
      { db: this.#db, events: this.#events },
      entries
        .filter(({ status }) => status.state === 'failed')
        .map(({ agentId, status }) => ({
          agentId,
          sessionId: status.sessionId,
          generation: status.generation,
          code: status.code ?? 'session_failed',
          message: status.message ?? 'The agent says that the session has failed.',
        })),
    );
    await this.#storeProgress(entries.filter(({ status }) => status.state !== 'failed'));
    return statuses.map(() => true);
  }

  async #storeProgress(entries: readonly ObservedStatus[]): Promise<void> {
    if (entries.length === 0) return;
    const rows = await queryRows<{ session: unknown }>(
      this.#db,
      RECORD_PROGRESS,
      {
        entries: JSON.stringify(
          entries.map(({ agentId, epoch, status }) => ({
            session_id: status.sessionId,
            agent_id: agentId,
            generation: status.generation,
            epoch,
            seq: status.sequence,
            state: status.state,
            phase: status.state === 'running' ? null : (status.phase ?? null),
            message: status.message ?? null,
          })),
        ),
      },
      'record_progress',
    );
    this.#events.publish(
      rows.map(({ session }) => toSessionEvent(sessionRowSchema.parse(session))),
    );
  }
}

function isLater(a: ObservedStatus, b: ObservedStatus): boolean {
  return a.epoch > b.epoch || (a.epoch === b.epoch && a.status.sequence > b.status.sequence);
}
