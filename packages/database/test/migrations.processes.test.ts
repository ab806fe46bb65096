import { setTimeout as delay } from 'node:timers/promises';
import { createTestDatabase, loadUpstreamDatabase } from '@streamspace/testkit';
import type { Knex } from 'knex';
import { connectForMigration, migrationNames, queryRows } from '../src/index.ts';
import { spawnMigrator } from './migrator-process.ts';

async function isWaitingForLock(db: Knex, applicationName: string): Promise<boolean> {
  const rows = await queryRows(
    db,
    `select from pg_stat_activity where application_name = :applicationName and wait_event_type = 'Lock'`,
    { applicationName },
  );
  return rows.length > 0;
}

// Property 37.
it('ten migrators started at once on an empty database: one migrates, all succeed', async () => {
  await using database = await createTestDatabase({ isEmpty: true });
  const migrators = Array.from({ length: 10 }, (_, n) =>
    spawnMigrator(database.url, `migrator-${n}`),
  );

  const exits = await Promise.all(migrators.map(({ exited }) => exited));

  expect(exits.filter(({ code }) => code !== 0)).toEqual([]);
  const applied = exits.map((exit) => exit.applied).filter((names) => names?.length !== 0);
  expect(applied).toEqual([migrationNames]);
});

it('a migrator killed in the middle leaves nothing to unlock and nothing half done', async () => {
  await using database = await createTestDatabase({ isEmpty: true });
  await loadUpstreamDatabase(database.knex);
  const holder = connectForMigration({ url: database.url, applicationName: 'holder' });
  const reader = await holder.transaction();
  // Migration 003 rewrites the table and waits for this reader.
  await reader.raw('lock table sessions in access share mode');
  const killed = spawnMigrator(database.url, 'to-be-killed');
  while (!(await isWaitingForLock(database.knex, 'to-be-killed'))) await delay(10);

  killed.child.kill('SIGKILL');
  expect(await killed.exited).toMatchObject({ code: null, signal: 'SIGKILL' });
  const next = spawnMigrator(database.url, 'the-next');
  // Whether it waits for the dead one's last statement or starts at once, it does so by itself.
  await reader.rollback();

  expect(await next.exited).toMatchObject({ code: 0, applied: migrationNames });
  expect(await database.knex('agent_commands').whereNotNull('seq')).toHaveLength(39);
  await holder.destroy();
});
