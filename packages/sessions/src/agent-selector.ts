import { queryRows } from '@streamspace/database';
import type { Knex } from 'knex';
import { findRefusal, type AgentFacts, type Requirements } from './agent-fit.ts';
import type { PassedOver } from './errors.ts';

export interface Candidate {
  readonly agentId: string;
  readonly platform: string;
}

export interface AgentSelectorOptions {
  readonly db: Knex;
  readonly maxQueuedPerAgent: number;
}

/** Read at once; when all of them are full by the time they are tried, the next ones are read. */
const MAX_CANDIDATES = 10;
const MAX_EXPLAINED = 100;

const QUEUE_FULL = 'queue_is_full(q, 1, :maxQueued::integer)';

/**
 * Reads who could take a session. What it answers is a guess: room is decided when it is reserved,
 * under the agent's lock.
 */
export class AgentSelector {
  readonly #db: Knex;
  readonly #maxQueued: number;

  constructor({ db, maxQueuedPerAgent }: AgentSelectorOptions) {
    this.#db = db;
    this.#maxQueued = maxQueuedPerAgent;
  }

  /** Least loaded first, by the largest share of what it has; equals in random order. */
  async findCandidates(
    needed: Requirements,
    state: 'online' | 'lost',
  ): Promise<readonly Candidate[]> {
    return queryRows<Candidate>(
      this.#db,
      `select q.agent_id as "agentId", a.platform
       from agent_queues q
       join agents a on a.agent_id = q.agent_id
       join agent_states st on st.agent_id = q.agent_id
       where q.deleted_at is null and not q.cordoned
         and coalesce(a.approval_status, 'approved') = 'approved'
         and a.platform in (select jsonb_array_elements_text(cast(:platforms as jsonb)))
         and (cast(:region as text) is null or a.region = :region)
         and a.labels @> cast(:labels as jsonb)
         and st.state = :state
         and (q.max_sessions is null or q.reserved_sessions < q.max_sessions)
         and (q.capacity_cpu_millis is null or q.reserved_cpu_millis + :cpuMillis <= q.capacity_cpu_millis)
         and (q.capacity_memory_bytes is null
           or q.reserved_memory_bytes + :memoryBytes <= q.capacity_memory_bytes)
         and not ${QUEUE_FULL}
       order by greatest(
           coalesce(q.reserved_sessions / nullif(q.max_sessions, 0)::float8, 0),
           coalesce(q.reserved_cpu_millis / nullif(q.capacity_cpu_millis, 0)::float8, 0),
           coalesce(q.reserved_memory_bytes / nullif(q.capacity_memory_bytes, 0)::float8, 0)
         ), random()
       limit ${MAX_CANDIDATES}`,
      { ...this.#bindings(needed), state },
    );
  }

  /** Every agent that there is and why it was passed over, up to 100. */
  async explain(needed: Requirements): Promise<readonly PassedOver[]> {
    const agents = await this.#readFacts('where q.deleted_at is null', {});
    return agents.map((agent) => ({
      agentId: agent.agentId,
      ...(findRefusal(agent, needed) ?? {
        code: 'no_room',
        reason: 'Its room was taken by other requests at the same moment.',
      }),
    }));
  }

  /** Also one that is deleted, cordoned or away. */
  async findFacts(agentId: string): Promise<AgentFacts | undefined> {
    const [agent] = await this.#readFacts('where q.agent_id = :agentId', { agentId });
    return agent;
  }

  async #readFacts(
    where: string,
    bindings: Readonly<Record<string, string>>,
  ): Promise<readonly AgentFacts[]> {
    const rows = await queryRows<FactsRow>(
      this.#db,
      `select q.agent_id as "agentId", a.platform, a.region, a.labels, st.state,
         coalesce(a.approval_status, 'approved') = 'approved' as "isApproved",
         q.cordoned as "isCordoned", q.deleted_at is not null as "isDeleted", ${QUEUE_FULL} as "isQueueFull",
         q.max_sessions as "maxSessions", q.reserved_sessions as "reservedSessions",
         q.capacity_cpu_millis as "cpuMillis", q.reserved_cpu_millis as "reservedCpuMillis",
         q.capacity_memory_bytes as "memoryBytes", q.reserved_memory_bytes as "reservedMemoryBytes"
       from agent_queues q
       join agents a on a.agent_id = q.agent_id
       join agent_states st on st.agent_id = q.agent_id
       ${where} order by q.agent_id limit ${MAX_EXPLAINED}`,
      { ...bindings, maxQueued: this.#maxQueued },
    );
    return rows.map((row) => ({
      ...row,
      cpuMillis: row.cpuMillis === null ? null : Number(row.cpuMillis),
      reservedCpuMillis: Number(row.reservedCpuMillis),
      memoryBytes: row.memoryBytes === null ? null : Number(row.memoryBytes),
      reservedMemoryBytes: Number(row.reservedMemoryBytes),
    }));
  }

  #bindings(needed: Requirements): Readonly<Record<string, string | number | null>> {
    return {
      platforms: JSON.stringify(needed.platforms),
      region: needed.region ?? null,
      labels: JSON.stringify(needed.labels),
      cpuMillis: needed.cpuMillis,
      memoryBytes: needed.memoryBytes,
      maxQueued: this.#maxQueued,
    };
  }
}

/** int8 arrives as text. */
type FactsRow = Omit<
  AgentFacts,
  'cpuMillis' | 'reservedCpuMillis' | 'memoryBytes' | 'reservedMemoryBytes'
> & {
  readonly cpuMillis: string | null;
  readonly reservedCpuMillis: string;
  readonly memoryBytes: string | null;
  readonly reservedMemoryBytes: string;
};
