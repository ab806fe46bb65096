import { jest } from '@jest/globals';
import { createTestDatabase } from '@streamspace/testkit';
import {
  connectForMigration,
  findMissingMigrations,
  migrateToLatest,
  migrationNames,
} from '../src/index.ts';

it('runs every migration on an empty database, and nothing the second time', async () => {
  await using database = await createTestDatabase({ isEmpty: true });
  const migrator = connectForMigration({ url: database.url, applicationName: 'migrator' });
  expect(await findMissingMigrations(migrator)).toEqual(migrationNames);

  expect(await migrateToLatest(migrator)).toEqual(migrationNames);
  expect(await migrateToLatest(migrator)).toEqual([]);

  expect(await findMissingMigrations(migrator)).toEqual([]);
  expect(await database.knex('installation')).toHaveLength(1);
  await migrator.destroy();
});

it('needs no limits of its own: it migrates over a replica’s connections too', async () => {
  await using database = await createTestDatabase({ isEmpty: true });
  expect(await migrateToLatest(database.knex)).toEqual(migrationNames);
});

it('does not mind migrations that a newer version has added', async () => {
  await using database = await createTestDatabase();
  await database.knex('knex_migrations').insert({ name: '999_of_a_newer_version', batch: 2 });
  expect(await findMissingMigrations(database.knex)).toEqual([]);
});

it('lets go of its lock when a migration fails, so that the next migrator goes on', async () => {
  await using database = await createTestDatabase({ isEmpty: true });
  const first = connectForMigration({ url: database.url, applicationName: 'migrator-1' });
  const second = connectForMigration({ url: database.url, applicationName: 'migrator-2' });
  await database.knex.raw('create table installation (in_the_way integer)');
  // Knex says it on the console, too.
  jest.spyOn(console, 'log').mockImplementation(() => undefined);

  await expect(migrateToLatest(first)).rejects.toMatchObject({ code: '42P07' });
  await database.knex.raw('drop table installation');
  const waited = jest.fn<() => void>();
  const applied = await migrateToLatest(second, {
    onWait: waited,
    signal: AbortSignal.timeout(5000),
  });

  expect(waited).not.toHaveBeenCalled();
  // All of a run's migrations are one transaction.
  expect(applied).toEqual(migrationNames);
  await first.destroy();
  await second.destroy();
});

it('gives up waiting for another migrator when it is told to', async () => {
  await using database = await createTestDatabase();
  const holder = connectForMigration({ url: database.url, applicationName: 'holder', poolSize: 1 });
  await holder.raw(`select pg_advisory_lock(x'73747370'::int)`);
  const abort = new AbortController();

  await expect(
    migrateToLatest(database.knex, {
      signal: abort.signal,
      onWait: () => abort.abort(new Error('told to')),
    }),
  ).rejects.toMatchObject({ name: 'AbortError' });

  await holder.destroy();
  expect(await migrateToLatest(database.knex)).toEqual([]);
});
