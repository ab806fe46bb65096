import { parseCpuMillis, parseMemoryBytes } from '@streamspace/protocol';
import type { Knex } from 'knex';

/** Desired state, generation, room and what was observed, beside upstream's columns. */
export async function up(knex: Knex): Promise<void> {
  await knex.raw(`
    alter table sessions
      add column name text,
      add column labels jsonb not null default '{}',
      add column desired_state text not null default 'running',
      add column generation bigint not null default 1,
      add column phase text,
      add column message text,
      add column error_code text,
      add column error_message text,
      add column start_payload jsonb,
      add column on_vanished text not null default 'fail',
      add column endpoint_host text,
      add column endpoint_port integer,
      add column holds_room boolean not null default false,
      add column room_cpu_millis bigint not null default 0,
      add column room_memory_bytes bigint not null default 0,
      add column observed_epoch bigint not null default 0,
      add column observed_seq bigint not null default 0,
      add column started_at timestamptz,
      add column ended_at timestamptz;
    update sessions set state = 'terminated' where state = 'deleted';
    update sessions set state = 'pending' where state is null;
    update sessions set
      desired_state = case
        when state in ('terminating', 'terminated') then 'terminated'
        when state in ('hibernating', 'hibernated') then 'hibernated'
        else 'running' end,
      holds_room = agent_id is not null and state not in ('hibernated', 'terminated', 'failed');
    update sessions set created_at = coalesce(updated_at, now()) where created_at is null;
    update sessions set updated_at = created_at where updated_at is null;
    alter table sessions alter column state set not null;
    alter table sessions alter column created_at set not null;
    alter table sessions alter column updated_at set not null;
    alter table sessions set (fillfactor = 70);
    create index sessions_created on sessions (created_at, id);
    create index sessions_user_created on sessions (user_id, created_at, id);
    create index sessions_agent on sessions (agent_id);
  `);
  await takeOverResources(knex);
  await knex.raw(`
    update agent_queues q set
      reserved_sessions = taken.sessions,
      reserved_cpu_millis = taken.cpu,
      reserved_memory_bytes = taken.memory
    from (
      select agent_id, count(*) as sessions, sum(room_cpu_millis) as cpu, sum(room_memory_bytes) as memory
      from sessions where holds_room group by agent_id
    ) taken
    where taken.agent_id = q.agent_id;
  `);
}

async function takeOverResources(knex: Knex): Promise<void> {
  const kinds = await knex('sessions')
    .distinct<{ cpu: string | null; memory: string | null }[]>('cpu', 'memory')
    .where('holds_room', true);
  for (const { cpu, memory } of kinds) {
    await knex('sessions')
      .where('holds_room', true)
      .whereRaw('cpu is not distinct from ? and memory is not distinct from ?', [cpu, memory])
      .update({
        room_cpu_millis: parseCpuMillis(cpu ?? '') ?? 0,
        room_memory_bytes: parseMemoryBytes(memory ?? '') ?? 0,
      });
  }
}
