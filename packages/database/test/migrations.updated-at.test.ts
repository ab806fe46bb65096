import {
  createTestDatabase,
  loadUpstreamDatabase,
  upstream,
  type TestDatabase,
} from '@streamspace/testkit';
import { connectForMigration, migrateToLatest, queryRows } from '../src/index.ts';
import { StaticMigrationSource } from '../src/migrations.ts';

/** Ends with the migration that adds `updated_at`, as if there were none after it. */
class UpToUpdatedAt extends StaticMigrationSource {
  override async getMigrations(): Promise<string[]> {
    return ['001_upstream_tables', '002_agent_commands_updated_at'];
  }
}

async function migrateToUpdatedAt(database: TestDatabase): Promise<void> {
  const migrator = connectForMigration({ url: database.url, applicationName: 'migrator' });
  await migrator.migrate.latest({ migrationSource: new UpToUpdatedAt() });
  await migrator.destroy();
}

/** As the Go control plane wrote a status. */
const MARK_SENT = `update agent_commands set status = 'sent', sent_at = now(), updated_at = now()
  where command_id = 'cmd-go-stop-001'`;

it('the Go control plane cannot write a status without it, and can with it', async () => {
  await using database = await createTestDatabase({ isEmpty: true });
  await loadUpstreamDatabase(database.knex);
  await expect(database.knex.raw(MARK_SENT)).rejects.toMatchObject({ code: '42703' });

  await migrateToUpdatedAt(database);
  await database.knex.raw(MARK_SENT);

  const [row] = await queryRows(
    database.knex,
    `select status, updated_at > created_at as has_moved, error_message
     from agent_commands where command_id = 'cmd-go-stop-001'`,
  );
  expect(row).toEqual({ status: 'sent', has_moved: true, error_message: null });
});

it('fills old rows with created_at, presets new ones, and allows no null', async () => {
  await using database = await createTestDatabase({ isEmpty: true });
  await database.knex.raw(`alter database "${database.name}" set timezone = 'Asia/Kathmandu'`);
  await loadUpstreamDatabase(database.knex);
  await migrateToUpdatedAt(database);

  const differing = await database.knex('agent_commands').whereRaw('updated_at <> created_at');
  expect(differing).toEqual([]);
  await database.knex('agent_commands').insert({
    command_id: 'cmd-new',
    agent_id: upstream.agentId,
    action: 'stop_session',
  });
  const [preset] = await queryRows(
    database.knex,
    `select abs(extract(epoch from updated_at - now() at time zone 'UTC')) < 60 as is_now_in_utc
     from agent_commands where command_id = 'cmd-new'`,
  );
  expect(preset).toEqual({ is_now_in_utc: true });
  await expect(database.knex('agent_commands').update({ updated_at: null })).rejects.toMatchObject({
    code: '23502',
  });
});

it('takes over a column that was added by hand, with the trigger that kept it', async () => {
  await using database = await createTestDatabase({ isEmpty: true });
  await loadUpstreamDatabase(database.knex);
  await database.knex.raw(`
    alter table agent_commands add column updated_at timestamp default current_timestamp;
    update agent_commands set updated_at = created_at + interval '1 hour'
      where command_id = '${upstream.odd.completed}';
    update agent_commands set updated_at = null where command_id = '${upstream.odd.failed}';
    create function touch() returns trigger language plpgsql as $$
      begin new.updated_at = current_timestamp; return new; end $$;
    create trigger agent_commands_updated_at_trigger before update on agent_commands
      for each row execute function touch();
  `);
  const migrator = connectForMigration({ url: database.url, applicationName: 'migrator' });
  await migrateToLatest(migrator);
  await migrator.destroy();

  const rows = await queryRows<{ command_id: string; gap: string }>(
    database.knex,
    `select command_id, extract(epoch from updated_at - created_at)::integer as gap from agent_commands
     where command_id in ('${upstream.odd.completed}', '${upstream.odd.failed}') order by command_id`,
  );
  expect(rows).toEqual([
    { command_id: upstream.odd.completed, gap: 3600 },
    { command_id: upstream.odd.failed, gap: 0 },
  ]);
});

it('migrates rows whose times are null, as those columns allowed', async () => {
  await using database = await createTestDatabase({ isEmpty: true });
  await loadUpstreamDatabase(database.knex);
  await database.knex.raw(`
    insert into agents (agent_id, platform, created_at, updated_at) values ('timeless', 'docker', null, null);
    insert into agent_commands (command_id, agent_id, action, status, created_at)
      values ('cmd-timeless', 'timeless', 'stop_session', null, null);
    update agents set capacity = '{"maxSessions": 99999999999}' where agent_id = '${upstream.idleAgentId}';
  `);
  const migrator = connectForMigration({ url: database.url, applicationName: 'migrator' });
  await migrateToLatest(migrator);
  await migrator.destroy();

  expect(
    await database
      .knex('agent_commands')
      .where({ command_id: 'cmd-timeless' })
      .first('status', 'seq'),
  ).toEqual({ status: 'pending', seq: '1' });
  // A number that no column holds limits nothing.
  expect(
    await database
      .knex('agent_queues')
      .where({ agent_id: upstream.idleAgentId })
      .first('max_sessions'),
  ).toEqual({ max_sessions: null });
});
