import { startPeriodic, type Periodic } from '@streamspace/agent-hub';
import { finishedSchema, queryRows } from '@streamspace/database';
import type { Knex } from 'knex';
import type { Logger } from 'pino';
import type { Doorbell, LiveEventPublisher } from './collaborators.ts';
import { announceFinished, type CommandQueue } from './command-queue.ts';

/** Of this project alone: 'stsw' as four bytes. */
const SWEEP_LOCK = 0x73_74_73_77;
const EVERY_MS = 1000;
const SLOW_STEPS_EVERY_MS = 30_000;
const BATCH = 500;
const DELETE_BATCH = 5000;

export interface GlobalSweepOptions {
  readonly db: Knex;
  readonly queue: CommandQueue;
  readonly doorbell: Doorbell;
  readonly events: LiveEventPublisher & {
    /** A replica died before it could publish: readers are told to load afresh. */
    markGap(): void;
  };
  /** An agent that is away for longer no longer answers for what it took. */
  readonly agentLostAfterMs: number;
  readonly onKeysExpired: (keyIds: readonly string[]) => void;
  readonly onRun: () => void;
  readonly logger: Logger;
}

/**
 * What belongs to no agent's owner: done by whichever replica gets the advisory lock, from rows, so
 * that it happens once and survives that replica. The lock lives as long as one statement, so no
 * replica holds it while it is frozen, and it passes through PgBouncer.
 */
export class GlobalSweep {
  readonly #options: GlobalSweepOptions;
  #loop: Periodic | undefined;
  #slowStepsDueAtMs = 0;

  constructor(options: GlobalSweepOptions) {
    this.#options = options;
  }

  start(): void {
    this.#loop = startPeriodic({
      everyMs: EVERY_MS,
      run: () => this.run(),
      onError: (err) => this.#options.logger.warn({ err }, 'the global sweep failed'),
    });
  }

  async stop(): Promise<void> {
    await this.#loop?.stop();
  }

  async run(): Promise<void> {
    await this.#expireCommands();
    await this.#endRotatedKeys();
    await this.#reapReplicas();
    await this.#announceOffline();
    if (performance.now() >= this.#slowStepsDueAtMs) {
      this.#slowStepsDueAtMs = performance.now() + SLOW_STEPS_EVERY_MS;
      await this.#endOutcomeUnknown();
      await this.#repairSessions();
      await this.#recountRoom();
      await this.#deleteOld();
    }
    this.#options.onRun();
  }

  /** `expires_at` limits delivery: what was claimed once is the agent's to end. */
  async #expireCommands(): Promise<void> {
    await this.#finish(
      `select c.command_id, 'expired' as status, 'expired' as error_code,
         'The agent was not there to take this command before it expired.' as error_message
       from agent_commands c
       where c.expires_at < now() and c.completed_at is null and c.attempt = 0 and c.seq is not null
       limit ${BATCH}`,
      {},
      true,
    );
  }

  async #endOutcomeUnknown(): Promise<void> {
    await this.#finish(
      `select c.command_id, 'failed' as status, 'outcome_unknown' as error_code,
         'The agent took this command and has been away ever since; whether it ran is not known.' as error_message
       from agent_queues q join agent_commands c
         on c.agent_id = q.agent_id and c.completed_at is null and c.seq > q.head_seq and c.attempt > 0
       where q.owner_boot_id is null
         and coalesce(q.disconnected_at, q.created_at) < now() - :lostAfterMs * interval '1 millisecond'
       limit ${BATCH}`,
      { lostAfterMs: this.#options.agentLostAfterMs },
      false,
    );
  }

  async #finish(
    selection: string,
    bindings: Record<string, number>,
    unsentOnly: boolean,
  ): Promise<void> {
    const [row] = await queryRows<{ finished: unknown }>(
      this.#options.db,
      `select finish_commands((select jsonb_agg(to_jsonb(x)) from (${selection}) x), :unsentOnly) as finished
       where exists (${selection}) and pg_try_advisory_xact_lock(${SWEEP_LOCK})`,
      { ...bindings, unsentOnly },
    );
    if (row) announceFinished(finishedSchema.parse(row.finished), this.#options);
  }

  async #endRotatedKeys(): Promise<void> {
    const rows = await queryRows<{ key_id: string }>(
      this.#options.db,
      'delete from agent_keys where expires_at < now() returning key_id',
    );
    if (rows.length > 0) this.#options.onKeysExpired(rows.map((row) => row.key_id));
  }

  /** A replica that ends cleanly removes its own row; this one died, or has been frozen for a minute. */
  async #reapReplicas(): Promise<void> {
    const dead = await queryRows<{ name: string }>(
      this.#options.db,
      `with dead as (
         delete from replicas where beat_at < now() - interval '60 seconds'
         returning boot_id, name, beat_at
       ), owned as (
         select q.agent_id, dead.beat_at from agent_queues q join dead on dead.boot_id = q.owner_boot_id
         order by q.agent_id for no key update of q
       ), released as (
         update agent_queues q set owner_boot_id = null, connection_id = null,
           disconnected_at = owned.beat_at + interval '6 seconds'
         from owned where owned.agent_id = q.agent_id
       )
       select name from dead`,
    );
    for (const { name } of dead) {
      this.#options.logger.warn({ replica: name }, 'a replica died; its agents were released');
      this.#options.events.markGap();
    }
  }

  /** Lost becomes offline by the clock alone; who watches is told once. */
  async #announceOffline(): Promise<void> {
    const agents = await queryRows<{ agent_id: string; connection_epoch: string }>(
      this.#options.db,
      `with gone as (
         select agent_id from agent_queues
         where owner_boot_id is null and offline_at is null
           and disconnected_at < now() - interval '60 seconds'
         order by disconnected_at limit ${BATCH} for no key update skip locked
       )
       update agent_queues q set offline_at = now() from gone where gone.agent_id = q.agent_id
       returning q.agent_id, q.connection_epoch`,
    );
    this.#options.events.publish(
      agents.map((agent) => ({
        type: 'agent',
        userId: null,
        agent: {
          agentId: agent.agent_id,
          state: 'offline',
          connectionEpoch: Number(agent.connection_epoch),
          replica: null,
        },
      })),
    );
  }

  /** A session that should be gone, is not, and has no command that would end it. */
  async #repairSessions(): Promise<void> {
    const sessions = await queryRows<{ id: string }>(
      this.#options.db,
      `select s.id from sessions s
       where s.state = 'terminating' and s.updated_at < now() - interval '30 seconds'
         and not exists (select from agent_commands c
           where c.session_id = s.id and is_open(c.status) and c.seq is not null)
       limit ${BATCH}`,
    );
    // Two replicas that do this at once write one stop: the second finds the first's open.
    for (const { id } of sessions)
      await this.#options.queue.changeSession({
        sessionId: id,
        action: 'stop_session',
        repair: true,
      });
  }

  /** Room is counted up and down; this is what would find a mistake in that. */
  async #recountRoom(): Promise<void> {
    const corrected = await queryRows<{ agent_id: string }>(
      this.#options.db,
      'select recount_room() as agent_id where pg_try_advisory_xact_lock(:lock)',
      { lock: SWEEP_LOCK },
    );
    for (const { agent_id: agentId } of corrected)
      this.#options.logger.error({ agentId }, 'reserved room was wrong and has been counted anew');
  }

  /**
   * Commands after 7 days, sessions after 30, idempotency keys after one; a few thousand at a time. What a taken over
   * database brought with it is kept as long, from the takeover on.
   */
  async #deleteOld(): Promise<void> {
    const { db } = this.#options;
    await queryRows(
      db,
      `delete from agent_commands where command_id in (
         select command_id from agent_commands
         where created_at < now() - interval '7 days' and (completed_at is not null or seq is null)
           and coalesce(completed_at, updated_at) < now() - interval '7 days'
           and ${installedBefore('7 days')}
         limit ${DELETE_BATCH})`,
    );
    await queryRows(
      db,
      `delete from sessions where id in (
         select id from sessions s
         where created_at < now() - interval '30 days' and state = 'terminated'
           and coalesce(ended_at, updated_at) < now() - interval '30 days'
           and ${installedBefore('30 days')}
           and not exists (select from agent_commands c where c.session_id = s.id)
         limit ${DELETE_BATCH})`,
    );
    await queryRows(
      db,
      `delete from idempotency_keys where (principal, method, path, key) in (
         select principal, method, path, key from idempotency_keys
         where created_at < now() - interval '1 day' limit ${DELETE_BATCH})`,
    );
  }
}

function installedBefore(age: string): string {
  return `exists (select from installation where created_at < now() - interval '${age}')`;
}
