import { mkdtemp, rm, writeFile, chmod, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { type PostgresServer, startPostgres } from '@streamspace/local-stack';
import { testProcessRegistry } from '@streamspace/testkit';
import { Client } from 'pg';

async function query(server: PostgresServer, sql: string): Promise<unknown[]> {
  const client = new Client({ connectionString: server.url });
  await client.connect();
  const { rows } = await client.query(sql);
  await client.end();
  return rows;
}

let directory: string;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'streamspace-postgres-'));
  await chmod(directory, 0o755);
});

afterEach(async () => {
  await rm(directory, { recursive: true, force: true });
});

async function start(dataDir = join(directory, 'data')): Promise<PostgresServer> {
  return startPostgres({ dataDir, registry: testProcessRegistry() });
}

it('keeps its data over a clean stop', async () => {
  const first = await start();
  await query(first, 'create table kept as select 1 as one');
  await first.stop();
  await using second = await start();
  expect(await query(second, 'select * from kept')).toEqual([{ one: 1 }]);
});

it('starts again after kill -9, with all that was committed', async () => {
  const first = await start();
  await query(first, 'create table kept as select 1 as one');
  first.kill('SIGKILL');
  await first.process.waitForExit();
  await using second = await start();
  expect(await query(second, 'select * from kept')).toEqual([{ one: 1 }]);
});

it('starts over a stale lock whose pid belongs to somebody else now', async () => {
  const first = await start();
  await first.stop();
  await writeFile(join(directory, 'data', 'postmaster.pid'), `${process.pid}\n`);
  await using second = await start();
  expect(await query(second, 'select 1 as one')).toEqual([{ one: 1 }]);
});

it('comes back by itself on the same port when it is supervised', async () => {
  await using server = await startPostgres({
    dataDir: join(directory, 'data'),
    restartOnExit: true,
    registry: testProcessRegistry(),
  });
  const firstPid = server.pid;
  server.kill('SIGKILL');
  for (let waitedMs = 0; waitedMs < 15_000; waitedMs += 100) {
    await delay(100);
    if (server.process.isReady && server.pid !== firstPid) break;
  }
  expect(await query(server, 'select 1 as one')).toEqual([{ one: 1 }]);
});

it('works below a directory that is closed to others', async () => {
  const closed = join(directory, 'closed');
  await using server = await start(join(closed, 'data'));
  await server.stop();
  await chmod(closed, 0o700);
  await server.start();
  expect(await query(server, 'select 1 as one')).toEqual([{ one: 1 }]);
});

it('keeps the password from other users', async () => {
  await using server = await start();
  expect((await stat(join(directory, 'data.password'))).mode & 0o077).toBe(0);
  const url = new URL(server.url);
  url.password = 'wrong';
  const client = new Client({ connectionString: url.href });
  await expect(client.connect()).rejects.toThrow('password authentication failed');
});
