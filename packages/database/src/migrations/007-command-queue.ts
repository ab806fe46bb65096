import type { Knex } from 'knex';

/**
 * `agent_commands` becomes the queue. No index key or predicate names a column that claims and acks
 * write (status, attempt, epoch, updated_at), so those updates stay heap-only.
 *
 * Of upstream's rows only the open ones get a place (`seq`) by (created_at, id). Ended ones keep what
 * they have: one `failed` row has no `completed_at`, and none is invented; every query for open work
 * says `seq > head_seq`, which a NULL is not. What upstream had sent counts as claimed once, under an
 * epoch before the first, and is settled when its agent connects.
 */
export async function up(knex: Knex): Promise<void> {
  await dropOldIndexes(knex);
  await knex.raw(`
    alter table agent_commands
      add column seq bigint,
      add column generation bigint,
      add column attempt integer not null default 0,
      add column solo_deliveries integer not null default 0,
      add column sent_epoch bigint,
      add column sent_by text,
      add column expires_at timestamptz,
      add column cancel_requested_at timestamptz,
      add column error_code text,
      add column result jsonb;
    -- Room on a row's page for what a claim and an ack make of it, so that both stay heap-only also while
    -- an old snapshot (a backup, an analyse) keeps earlier versions from being pruned.
    alter table agent_commands set (fillfactor = 30);
    update agent_commands c set session_id = c.payload->>'sessionId'
      where c.session_id is null
        and exists (select from sessions s where s.id = c.payload->>'sessionId');
    update agent_commands set status = 'pending' where status is null;
    alter table agent_commands alter column status set not null;
    update agent_commands set status = 'acknowledged' where status = 'ack';
    update agent_commands set attempt = 1, sent_epoch = 0
      where status in ('sent', 'acknowledged') and completed_at is null;
    update agent_commands c set seq = numbered.seq
      from (
        select id, row_number() over (partition by agent_id order by created_at, id) as seq
        from agent_commands
        where status in ('pending', 'sent', 'acknowledged') and completed_at is null
          and agent_id is not null
      ) numbered
      where numbered.id = c.id;
    update agent_queues q set next_seq = last.seq + 1
      from (select agent_id, max(seq) as seq from agent_commands group by agent_id) last
      where last.agent_id = q.agent_id and last.seq is not null;
    -- A session's open commands count up its generation, as if they had been accepted here.
    update agent_commands c set generation = numbered.generation
      from (
        select c.id, coalesce(s.generation, 1) - 1 + row_number() over (partition by c.session_id order by c.seq)
          + case when c.action = 'start_session' or s.id is null then 0 else 1 end as generation
        from agent_commands c left join sessions s on s.id = c.session_id
        where c.seq is not null and c.session_id is not null
      ) numbered
      where numbered.id = c.id;
    update sessions s set generation = last.generation
      from (select session_id, max(generation) as generation from agent_commands
            where seq is not null group by session_id) last
      where last.session_id = s.id;
    create index agent_commands_open on agent_commands (agent_id, seq) where completed_at is null;
    create index agent_commands_session on agent_commands (session_id, command_id)
      where session_id is not null;
    create index agent_commands_created on agent_commands using brin (created_at);
    create index agent_commands_expiry on agent_commands (expires_at)
      where completed_at is null and expires_at is not null;
  `);
}

/** They would end heap-only updates; the foreign key's cascade would delete commands with their agent. */
async function dropOldIndexes(knex: Knex): Promise<void> {
  const indexes = await knex.raw<{ rows: { name: string }[] }>(`
    select i.relname as name from pg_index x join pg_class i on i.oid = x.indexrelid
    where x.indrelid = 'agent_commands'::regclass and not x.indisunique`);
  for (const { name } of indexes.rows) await knex.raw('drop index ??', [name]);
  await makeCommandIdPrimaryKey(knex);
  await knex.raw(`
    alter table agent_commands drop constraint if exists agent_commands_agent_id_fkey;
    alter table agent_commands add constraint agent_commands_agent_id_fkey
      foreign key (agent_id) references agents(agent_id);
    update agent_commands set created_at = updated_at where created_at is null;
    alter table agent_commands alter column created_at set not null;
  `);
}

/** Upstream's key is a random uuid that nothing refers to: an index more to write with each command, at a random place. */
async function makeCommandIdPrimaryKey(knex: Knex): Promise<void> {
  const constraints = await knex.raw<{ rows: { name: string }[] }>(`
    select conname as name from pg_constraint
    where conrelid = 'agent_commands'::regclass and contype in ('p', 'u')`);
  for (const { name } of constraints.rows)
    await knex.raw('alter table agent_commands drop constraint ??', [name]);
  await knex.raw('alter table agent_commands add primary key (command_id)');
}
