import { callFunction, queryRows } from '@streamspace/database';
import { parseCpuMillis, parseMemoryBytes, type Capacity } from '@streamspace/protocol';
import type { Knex } from 'knex';
import { z } from 'zod';
import type { AgentIdentity } from './agent-connection.ts';

const mintAnswerSchema = z.discriminatedUnion('kind', [
  z.object({
    kind: z.literal('minted'),
    epoch: z.int(),
    previousOwnerBootId: z.string().nullable(),
    journalChanged: z.boolean(),
  }),
  z.object({ kind: z.literal('refused'), retryAfterMs: z.coerce.number() }),
  z.object({ kind: z.literal('not_found') }),
]);
export type MintAnswer = z.infer<typeof mintAnswerSchema>;

export interface OwnedAgent {
  readonly agentId: string;
  readonly connectionId: string | null;
  readonly epoch: number;
  readonly isKeyValid: boolean;
  readonly isApproved: boolean;
}

/** Who owns which agent, in Postgres: the lease itself. */
export class OwnershipStore {
  readonly #db: Knex;
  readonly #bootId: string;

  constructor(db: Knex, bootId: string) {
    this.#db = db;
    this.#bootId = bootId;
  }

  /** The next epoch for a new connection of an authenticated agent; see `mint_epoch`. */
  async mint(hello: AgentIdentity, connectionId: string, keyId: string): Promise<MintAnswer> {
    return mintAnswerSchema.parse(
      await callFunction(this.#db, 'mint_epoch', {
        agentId: hello.agentId,
        bootId: this.#bootId,
        connectionId,
        keyId,
        highestEpoch: hello.highestEpoch,
        instanceId: hello.instanceId,
        journalId: hello.journalId,
      }),
    );
  }

  /** Compare-and-set: a late release of an older connection changes nothing. True when it was ours. */
  async release(agentId: string, epoch: number): Promise<boolean> {
    const rows = await queryRows(
      this.#db,
      `update agent_queues set owner_boot_id = null, connection_id = null, disconnected_at = now()
       where agent_id = :agentId and connection_epoch = :epoch and owner_boot_id = :bootId
       returning agent_id`,
      { agentId, epoch, bootId: this.#bootId },
    );
    return rows.length > 0;
  }

  async listOwned(): Promise<readonly OwnedAgent[]> {
    const rows = await queryRows<{
      agent_id: string;
      connection_id: string | null;
      connection_epoch: string;
      key_valid: boolean;
      approved: boolean;
    }>(
      this.#db,
      `select q.agent_id, q.connection_id, q.connection_epoch,
         exists (select from agent_keys k where k.key_id = q.key_id
           and (k.expires_at is null or k.expires_at > now())) as key_valid,
         coalesce(a.approval_status, 'approved') = 'approved' as approved
       from agent_queues q join agents a on a.agent_id = q.agent_id
       where q.owner_boot_id = :bootId`,
      { bootId: this.#bootId },
    );
    return rows.map((row) => ({
      agentId: row.agent_id,
      connectionId: row.connection_id,
      epoch: Number(row.connection_epoch),
      isKeyValid: row.key_valid,
      isApproved: row.approved,
    }));
  }

  async findOwner(agentId: string): Promise<{ bootId: string; epoch: number } | undefined> {
    const [row] = await queryRows<{ owner_boot_id: string | null; connection_epoch: string }>(
      this.#db,
      'select owner_boot_id, connection_epoch from agent_queues where agent_id = :agentId',
      { agentId },
    );
    if (!row?.owner_boot_id) return undefined;
    return { bootId: row.owner_boot_id, epoch: Number(row.connection_epoch) };
  }

  /**
   * What an agent says of itself in its hello. Labels it was registered with stay; those that it
   * reported last time and no longer reports go. Writes only what differs.
   */
  async describe(hello: AgentIdentity): Promise<void> {
    await queryRows(
      this.#db,
      `update agents a set platform = coalesce(:platform, a.platform), region = coalesce(:region, a.region), version = :version,
         labels = (a.labels - array(select jsonb_object_keys(a.reported_labels))) || :labels::jsonb,
         reported_labels = :labels::jsonb, updated_at = now()
       where a.agent_id = :agentId and (
         (a.platform, a.region, a.version, a.reported_labels) is distinct from
           (coalesce(:platform, a.platform), coalesce(:region, a.region), :version, :labels::jsonb))`,
      {
        agentId: hello.agentId,
        platform: hello.platform ?? null,
        region: hello.region ?? null,
        version: hello.version ?? null,
        labels: JSON.stringify(hello.labels ?? {}),
      },
    );
    if (hello.capacity) await this.setCapacity(hello.agentId, hello.capacity);
  }

  /** A quantity that cannot be read does not limit. */
  async setCapacity(agentId: string, capacity: Capacity): Promise<void> {
    const bindings = {
      agentId,
      capacity: JSON.stringify(capacity),
      maxSessions: capacity.maxSessions ?? null,
      cpu: parseCpuMillis(capacity.cpu ?? '') ?? null,
      memory: parseMemoryBytes(capacity.memory ?? '') ?? null,
    };
    await queryRows(
      this.#db,
      `update agents set capacity = :capacity::jsonb, updated_at = now()
       where agent_id = :agentId and capacity is distinct from :capacity::jsonb`,
      bindings,
    );
    await queryRows(
      this.#db,
      `update agent_queues set max_sessions = :maxSessions::integer,
         capacity_cpu_millis = :cpu::bigint, capacity_memory_bytes = :memory::bigint
       where agent_id = :agentId and (max_sessions, capacity_cpu_millis, capacity_memory_bytes)
         is distinct from (:maxSessions::integer, :cpu::bigint, :memory::bigint)`,
      bindings,
    );
  }
}
