import type { AgentConnection } from '@streamspace/agent-hub';
import { queryRows } from '@streamspace/database';
import { inventoryAnswerSchema, type InventoryEntry } from '@streamspace/protocol';
import type { Knex } from 'knex';
import type { Logger } from 'pino';
import type { LiveEventPublisher } from './collaborators.ts';
import type { CommandQueue } from './command-queue.ts';
import { failSessions } from './fail-sessions.ts';

const ANSWER_TIMEOUT_MS = 20_000;

interface KnownSession {
  readonly id: string;
  readonly state: string;
  readonly generation: string;
  readonly on_vanished: string;
  readonly is_busy: boolean;
}

export interface InventoryReconcilerOptions {
  readonly db: Knex;
  readonly queue: CommandQueue;
  readonly events: LiveEventPublisher;
  readonly logger: Logger;
}

/**
 * Compares what an agent says that it runs with what should run there, and acts only through the
 * queue. A session with an open command is left alone, and so is one that has changed since the agent
 * was asked. Ids that are not this agent's are named back to it; it removes them under its own caps.
 */
export class InventoryReconciler {
  readonly #options: InventoryReconcilerOptions;

  constructor(options: InventoryReconcilerOptions) {
    this.#options = options;
  }

  async reconcile(connection: AgentConnection): Promise<void> {
    const askedAt = await this.#now();
    const { epoch } = connection;
    const answer = inventoryAnswerSchema.parse(
      await connection.ask('inventory', { epoch }, ANSWER_TIMEOUT_MS),
    );
    if (!answer.complete) return;
    await this.#noteInstance(connection, answer.sessions.length > 0);
    const running = new Map(answer.sessions.map((entry) => [entry.sessionId, entry]));
    const known = await this.#listSessions(connection.agentId, [...running.keys()], askedAt);
    const orphans = [...running.keys()].filter((id) => !known.has(id));
    for (const session of known.values())
      if (!session.is_busy)
        await this.#compare(connection, session, running.get(session.id), askedAt);
    if (running.size > 0) connection.send('orphans', { epoch, sessionIds: orphans });
  }

  async #compare(
    connection: AgentConnection,
    session: KnownSession,
    observed: InventoryEntry | undefined,
    askedAt: Date,
  ): Promise<void> {
    const { queue, logger } = this.#options;
    const { agentId } = connection;
    const sessionId = session.id;
    if (session.state === 'running') {
      if (!observed) await this.#endVanished(connection, session, askedAt);
      return;
    }
    if (!shouldNotBeThere(session, observed)) return;
    logger.warn(
      { agentId, sessionId, state: session.state },
      'a session is there that should not be; ending it',
    );
    const action = session.state === 'hibernated' ? 'hibernate_session' : 'stop_session';
    await queue.changeSession({ sessionId, action, repair: true });
  }

  async #endVanished(
    { agentId }: AgentConnection,
    session: KnownSession,
    askedAt: Date,
  ): Promise<void> {
    const { queue, logger } = this.#options;
    const sessionId = session.id;
    logger.warn({ agentId, sessionId }, 'a session has vanished from its agent');
    if (session.on_vanished === 'restart') {
      await queue.changeSession({ sessionId, action: 'start_session', repair: true });
      return;
    }
    await failSessions(this.#options, [
      {
        sessionId,
        agentId,
        generation: Number(session.generation),
        code: 'vanished',
        message: 'The session is no longer there where it ran.',
        before: askedAt,
      },
    ]);
  }

  async #now(): Promise<Date> {
    const [row] = await queryRows<{ now: Date }>(this.#options.db, 'select now() as now');
    if (!row) throw new Error('postgres did not say what time it is');
    return row.now;
  }

  /** Whoever has sessions is the one to keep when two hosts connect as one agent. */
  async #noteInstance(connection: AgentConnection, hasSessions: boolean): Promise<void> {
    await queryRows(
      this.#options.db,
      `update agent_queues set inventory_instance_id = :instanceId
       where agent_id = :agentId and connection_epoch = :epoch
         and inventory_instance_id is distinct from :instanceId`,
      {
        agentId: connection.agentId,
        epoch: connection.epoch,
        instanceId: hasSessions ? connection.hello.instanceId : null,
      },
    );
  }

  async #listSessions(
    agentId: string,
    observed: readonly string[],
    askedAt: Date,
  ): Promise<ReadonlyMap<string, KnownSession>> {
    const rows = await queryRows<KnownSession>(
      this.#options.db,
      `select s.id, s.state, s.generation, s.on_vanished,
         s.updated_at >= :askedAt or exists (select from agent_commands c
           where c.session_id = s.id and is_open(c.status) and c.seq is not null) as is_busy
       from sessions s
       where s.agent_id = :agentId and (s.state = 'running' or s.id = any(:observed::text[]))`,
      { agentId, observed: [...observed], askedAt },
    );
    return new Map(rows.map((row) => [row.id, row]));
  }
}

/** An agent may keep the record of a session that failed until it is stopped: that is no session. */
function shouldNotBeThere(session: KnownSession, observed: InventoryEntry | undefined): boolean {
  if (session.state === 'terminated') return observed !== undefined;
  const runs = observed?.state === 'running' || observed?.state === 'starting';
  return runs && (session.state === 'failed' || session.state === 'hibernated');
}
