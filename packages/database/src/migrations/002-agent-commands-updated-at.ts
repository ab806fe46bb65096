import type { Knex } from 'knex';

/**
 * The column whose absence made every status update of the Go control plane fail: its commands stayed
 * `pending` for ever and the whole history was queued again at each start.
 *
 * Old rows get `created_at`: when they last changed is not known, and nothing later is invented. No
 * trigger keeps it, every statement that writes a command does: a trigger would move it in backfills.
 * Where somebody had added the column by hand, upstream's file came with one.
 */
export async function up(knex: Knex): Promise<void> {
  await knex.raw(`
    alter table agent_commands add column if not exists updated_at timestamp;
    do $$
    declare v_trigger text;
    begin
      for v_trigger in
        select t.tgname from pg_trigger t join pg_proc f on f.oid = t.tgfoid
        where t.tgrelid = 'agent_commands'::regclass and not t.tgisinternal and f.prosrc like '%updated_at%'
      loop
        execute format('drop trigger %I on agent_commands', v_trigger);
      end loop;
    end $$;
    update agent_commands set updated_at = coalesce(created_at, current_timestamp at time zone 'UTC')
      where updated_at is null;
    alter table agent_commands alter column updated_at set default (current_timestamp at time zone 'UTC');
    alter table agent_commands alter column updated_at set not null;
  `);
}
