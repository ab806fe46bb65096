import { createTestDatabase, testEnvironment } from '@streamspace/testkit';
import { Client } from 'pg';

async function databaseExists(name: string): Promise<boolean> {
  const client = new Client({ connectionString: testEnvironment().postgresUrl });
  await client.connect();
  const { rowCount } = await client.query('select 1 from pg_database where datname = $1', [name]);
  await client.end();
  return rowCount === 1;
}

it('a test database has the migrated schema and is gone after disposal', async () => {
  const database = await createTestDatabase();
  expect(await database.knex.schema.hasTable('agent_commands')).toBe(true);
  expect(await databaseExists(database.name)).toBe(true);
  await database.drop();
  expect(await databaseExists(database.name)).toBe(false);
});

it('an empty test database has no table at all', async () => {
  await using database = await createTestDatabase({ isEmpty: true });
  const tables = await database.knex('pg_tables').where({ schemaname: 'public' });
  expect(tables).toEqual([]);
});

it('twenty clones at once do not disturb one another', async () => {
  const databases = await Promise.all(
    Array.from({ length: 20 }, () => createTestDatabase({ poolSize: 1 })),
  );
  expect(new Set(databases.map(({ name }) => name)).size).toBe(20);
  await Promise.all(databases.map((database) => database.drop()));
});

it('a database with open connections is dropped all the same', async () => {
  const database = await createTestDatabase();
  const client = new Client({ connectionString: database.url });
  client.on('error', () => undefined);
  await client.connect();
  await database.drop();
  expect(await databaseExists(database.name)).toBe(false);
  await client.end().catch(() => undefined);
});
