import { parseCpuMillis, parseMemoryBytes } from '@streamspace/protocol';
import type { Knex } from 'knex';

const TABLES = `
  alter table agents
    add column labels jsonb not null default '{}',
    add column reported_labels jsonb not null default '{}',
    add column version text,
    add column notice_code text,
    add column notice_message text;
  update agents set created_at = coalesce(created_at, updated_at, now()),
    updated_at = coalesce(updated_at, created_at, now())
    where created_at is null or updated_at is null;
  alter table agents alter column created_at set not null;
  alter table agents alter column updated_at set not null;

  create table agent_queues (
    agent_id varchar(255) primary key references agents(agent_id),
    next_seq bigint not null default 1,
    head_seq bigint not null default 0,
    cordoned boolean not null default false,
    deleted_at timestamptz,
    connection_epoch bigint not null default 0,
    owner_boot_id text,
    connection_id text,
    key_id text,
    connected_at timestamptz,
    disconnected_at timestamptz,
    offline_at timestamptz,
    instance_id text,
    journal_id text,
    inventory_instance_id text,
    takeovers integer not null default 0,
    takeovers_since timestamptz,
    takeovers_first_instance_id text,
    refused_instance_id text,
    refused_until timestamptz,
    refusals integer not null default 0,
    max_sessions integer,
    capacity_cpu_millis bigint,
    capacity_memory_bytes bigint,
    reserved_sessions integer not null default 0,
    reserved_cpu_millis bigint not null default 0,
    reserved_memory_bytes bigint not null default 0,
    created_at timestamptz not null default now()
  ) with (fillfactor = 50);
  create index agent_queues_owner on agent_queues (owner_boot_id) where owner_boot_id is not null;

  create index agent_queues_going_offline on agent_queues (disconnected_at)
    where owner_boot_id is null and offline_at is null;

  create table agent_keys (
    key_id text primary key,
    agent_id varchar(255) not null references agents(agent_id),
    key_hash text not null unique,
    created_at timestamptz not null default now(),
    expires_at timestamptz
  );
  create index agent_keys_agent on agent_keys (agent_id);

  insert into agent_queues (agent_id) select agent_id from agents;
`;

/**
 * `agent_queues`: one narrow row per agent, whose lock is the agent's one point of order. It hands out
 * `seq`, holds the room that sessions have taken, the connection's epoch and owner. No index names a
 * column that commands change, so its updates stay heap-only.
 */
export async function up(knex: Knex): Promise<void> {
  await knex.raw(TABLES);
  await takeOverCapacities(knex);
  await knex.raw(`
    create view agent_states as
      select q.agent_id,
        r.name as replica,
        case
          when q.owner_boot_id is not null and r.beat_at > now() - interval '6 seconds' then 'online'
          when q.owner_boot_id is not null and r.beat_at > now() - interval '66 seconds' then 'lost'
          when q.disconnected_at > now() - interval '60 seconds' then 'lost'
          else 'offline'
        end as state
      from agent_queues q left join replicas r on r.boot_id = q.owner_boot_id;
  `);
}

/** What cannot be read ("64 cores") does not limit. */
async function takeOverCapacities(knex: Knex): Promise<void> {
  const agents = await knex('agents')
    .select<
      { agent_id: string; capacity: { maxSessions?: unknown; cpu?: unknown; memory?: unknown } }[]
    >('agent_id', 'capacity')
    .whereRaw("jsonb_typeof(capacity) = 'object'");
  for (const { agent_id, capacity } of agents) {
    await knex('agent_queues')
      .where({ agent_id })
      .update({
        max_sessions: isCount(capacity.maxSessions) ? capacity.maxSessions : null,
        capacity_cpu_millis: parseCpuMillis(quantity(capacity.cpu)) ?? null,
        capacity_memory_bytes: parseMemoryBytes(quantity(capacity.memory)) ?? null,
      });
  }
}

/** Of an `integer` column. */
function isCount(value: unknown): boolean {
  return Number.isInteger(value) && Number(value) >= 0 && Number(value) < 2 ** 31;
}

function quantity(value: unknown): string {
  return typeof value === 'string' || typeof value === 'number' ? String(value) : '';
}
