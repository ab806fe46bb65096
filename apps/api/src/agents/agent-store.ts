import { agentRowSchema, queryRows, toAgent } from '@streamspace/database';
import type { Agent, AgentQuery, CreateAgent, Page } from '@streamspace/protocol';
import { decodeCursor, toPage } from '@streamspace/sessions';
import type { Knex } from 'knex';
import { z } from 'zod';
import type { NewAgentKey } from './agent-key.ts';

/** Enough to say "more than 1,000" without counting a hundred thousand. */
const MAX_COUNTED = 1001;

const SELECT = `
  select a.agent_id, a.platform, a.region, a.labels, a.capacity, a.version, a.notice_code,
    a.notice_message, a.approval_status, a.created_at, a.updated_at, st.state,
    case when st.state = 'online' then st.replica end as replica, q.cordoned, q.connection_epoch,
    q.connected_at, q.disconnected_at, q.max_sessions, q.capacity_cpu_millis, q.capacity_memory_bytes,
    q.reserved_sessions, q.reserved_cpu_millis, q.reserved_memory_bytes,
    (select count(*) from (
       select from agent_commands c where c.agent_id = q.agent_id and c.completed_at is null
         and c.seq > q.head_seq limit ${MAX_COUNTED}) open) as queue_length
  from agent_queues q
  join agents a on a.agent_id = q.agent_id
  join agent_states st on st.agent_id = q.agent_id
  where q.deleted_at is null`;

interface AgentRecord {
  readonly agent_id: string;
}

const toItem = (row: AgentRecord): Agent => toAgent(agentRowSchema.parse(row));

const rotatedSchema = z.object({ previous_expires_at: z.date().nullable() });

/** Agents as people see them; takes a pool or a transaction. Deleted ones are not there. */
export class AgentStore {
  readonly #db: Knex;

  constructor(db: Knex) {
    this.#db = db;
  }

  async find(agentId: string): Promise<Agent | undefined> {
    const [row] = await queryRows<AgentRecord>(this.#db, `${SELECT} and q.agent_id = :agentId`, {
      agentId,
    });
    return row && toItem(row);
  }

  async list({ limit, cursor, state, platform, region }: AgentQuery): Promise<Page<Agent>> {
    const rows = await queryRows<AgentRecord>(
      this.#db,
      `${SELECT}
         and (cast(:state as text) is null or st.state = :state)
         and (cast(:platform as text) is null or a.platform = :platform)
         and (cast(:region as text) is null or a.region = :region)
         and (cast(:after as text) is null or q.agent_id > :after)
       order by q.agent_id limit :limit`,
      {
        state: state ?? null,
        platform: platform ?? null,
        region: region ?? null,
        after: cursor === undefined ? null : (decodeCursor(cursor, 1)[0] ?? null),
        limit: limit + 1,
      },
    );
    return toPage(rows, limit, { toItem, sortKey: ({ agent_id }) => [agent_id] });
  }

  /** In a transaction. False where there is one of that id; one that was deleted comes back to life. */
  async create(agent: CreateAgent): Promise<boolean> {
    const { agentId, platform, region, labels } = agent;
    const description = { platform, region: region ?? null, labels: JSON.stringify(labels ?? {}) };
    const inserted: unknown[] = await this.#db('agents')
      .insert({ agent_id: agentId, approval_status: 'approved', ...description })
      .onConflict('agent_id')
      .ignore()
      .returning('agent_id');
    if (inserted.length > 0) {
      await this.#db('agent_queues').insert({ agent_id: agentId });
      return true;
    }
    const revived = await this.#db('agent_queues')
      .where({ agent_id: agentId })
      .whereNotNull('deleted_at')
      .update({
        deleted_at: null,
        cordoned: false,
        refused_instance_id: null,
        refused_until: null,
      });
    if (revived === 0) return false;
    await this.#db('agents')
      .where({ agent_id: agentId })
      .update({
        ...description,
        approval_status: 'approved',
        notice_code: null,
        notice_message: null,
        updated_at: this.#db.fn.now(),
      });
    return true;
  }

  async addKey(agentId: string, { keyId, keyHash }: NewAgentKey): Promise<void> {
    await this.#db('agent_keys').insert({ key_id: keyId, agent_id: agentId, key_hash: keyHash });
  }

  /**
   * In a transaction: until when the keys of before still serve, and, where there is no grace, which
   * of them are gone. A key that upstream left as bcrypt cannot end later, so it ends now.
   */
  async retireKeys(
    agentId: string,
    graceSeconds: number,
  ): Promise<{ readonly expiresAt: Date | null; readonly revokedKeyIds: readonly string[] }> {
    await this.#db('agents').where({ agent_id: agentId }).update({ api_key_hash: null });
    if (graceSeconds === 0) {
      const gone = await queryRows<{ key_id: string }>(
        this.#db,
        'delete from agent_keys where agent_id = :agentId returning key_id',
        { agentId },
      );
      return { expiresAt: null, revokedKeyIds: gone.map(({ key_id }) => key_id) };
    }
    const [row] = await queryRows(
      this.#db,
      `with retired as (
         update agent_keys set expires_at = least(expires_at, now() + :graceSeconds * interval '1 second')
         where agent_id = :agentId returning expires_at
       )
       select max(expires_at) as previous_expires_at from retired`,
      { agentId, graceSeconds },
    );
    return { expiresAt: rotatedSchema.parse(row).previous_expires_at, revokedKeyIds: [] };
  }

  /** False where there is no such agent. */
  async setCordoned(agentId: string, isCordoned: boolean): Promise<boolean> {
    const rows = await queryRows(
      this.#db,
      `update agent_queues set cordoned = :isCordoned
       where agent_id = :agentId and deleted_at is null returning agent_id`,
      { agentId, isCordoned },
    );
    return rows.length > 0;
  }
}
