import { randomBytes } from 'node:crypto';
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connectForMigration, migrateToLatest } from '@streamspace/database';
import {
  identifyProcess,
  isRunning,
  type ProcessIdentity,
  ProcessRegistry,
  startPostgres,
  startRedis,
} from '@streamspace/local-stack';
import {
  dropDatabase,
  dropDatabasesOfRun,
  runAdminQuery,
  urlOfDatabase,
} from './admin-database.ts';
import { publishTestEnvironment, type TestEnvironment } from './test-environment.ts';

export interface TestRun {
  readonly environment: TestEnvironment;
  stop(): Promise<void>;
}

const DIRECTORY_PREFIX = 'streamspace-test-';
const OWNER_FILE = 'owner.json';

/** Everything the run can spare: what it writes is thrown away. `fsync=off` loses data only when the machine dies. */
const TEST_POSTGRES_SETTINGS = {
  fsync: 'off',
  max_connections: '300',
  // Several hundred databases are created and dropped: no checkpoint should stand in their way.
  max_wal_size: '2GB',
};

/** Starts what `DATABASE_URL` and `REDIS_URL` do not name, and migrates the template that test files clone. */
export async function startTestRun(env: NodeJS.ProcessEnv): Promise<TestRun> {
  await removeAbandonedRuns();
  const runDir = mkdtempSync(join(tmpdir(), DIRECTORY_PREFIX));
  // PostgreSQL may run as another user and has to pass through.
  chmodSync(runDir, 0o755);
  writeFileSync(join(runDir, OWNER_FILE), JSON.stringify(identifyProcess(process.pid)));
  const registry = new ProcessRegistry(join(runDir, 'processes'));
  const removeAtOnce = (): void => {
    registry.killAllNow();
    rmSync(runDir, { recursive: true, force: true });
  };
  const stopListening = onSuddenEnd(removeAtOnce);
  const runId = `sstest_${randomBytes(4).toString('hex')}`;
  const postgresUrl = env['DATABASE_URL'] ?? (await startOwnPostgres(runDir, registry));
  const redisUrl = env['REDIS_URL'] ?? (await startRedis({ registry })).url;
  const templateDatabase = await createTemplate(postgresUrl, runId);
  const environment = { runId, runDir, postgresUrl, templateDatabase, redisUrl };
  publishTestEnvironment(environment);
  // Whatever a test or one of its processes puts into the temporary directory goes with the run.
  process.env['TMPDIR'] = makeTemporaryDirectory(runDir);
  return {
    environment,
    async stop() {
      stopListening();
      if (env['DATABASE_URL'] !== undefined) await dropDatabasesOfRun(postgresUrl, runId);
      await registry.endLeftovers();
      rmSync(runDir, { recursive: true, force: true });
    },
  };
}

function makeTemporaryDirectory(runDir: string): string {
  const directory = join(runDir, 'tmp');
  mkdirSync(directory);
  // For every user, as /tmp is.
  chmodSync(directory, 0o1777);
  return directory;
}

async function startOwnPostgres(runDir: string, registry: ProcessRegistry): Promise<string> {
  const logDir = join(runDir, 'logs');
  mkdirSync(logDir);
  const { url } = await startPostgres({
    dataDir: join(runDir, 'postgres'),
    settings: TEST_POSTGRES_SETTINGS,
    logFile: join(logDir, 'postgres.log'),
    registry,
  });
  return url;
}

async function createTemplate(postgresUrl: string, runId: string): Promise<string> {
  const name = `${runId}_template`;
  await runAdminQuery(postgresUrl, `create database "${name}" template template0`);
  const db = connectForMigration({
    url: urlOfDatabase(postgresUrl, name),
    applicationName: 'test-template',
  });
  try {
    await migrateToLatest(db);
  } catch (error) {
    await db.destroy();
    await dropDatabase(postgresUrl, name);
    throw error;
  }
  await db.destroy();
  // Cloning fails while anybody is connected to the original.
  await runAdminQuery(postgresUrl, `alter database "${name}" is_template true`);
  await runAdminQuery(postgresUrl, `alter database "${name}" allow_connections false`);
  return name;
}

/** Ctrl-C and crashes skip jest's global teardown; only synchronous work is possible then. */
function onSuddenEnd(clean: () => void): () => void {
  const onSignal = (signal: NodeJS.Signals): void => {
    clean();
    process.removeListener(signal, onSignal);
    process.kill(process.pid, signal);
  };
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
  process.once('exit', clean);
  for (const signal of signals) process.once(signal, onSignal);
  return () => {
    process.removeListener('exit', clean);
    for (const signal of signals) process.removeListener(signal, onSignal);
  };
}

/** A run that was killed outright left its directory; its servers are ended before the directory goes. */
async function removeAbandonedRuns(): Promise<void> {
  const directories = readdirSync(tmpdir()).filter((name) => name.startsWith(DIRECTORY_PREFIX));
  for (const name of directories) {
    const directory = join(tmpdir(), name);
    const owner = readOwner(directory);
    if (!owner || isRunning(owner)) continue;
    await new ProcessRegistry(join(directory, 'processes')).endLeftovers();
    rmSync(directory, { recursive: true, force: true });
  }
}

function readOwner(directory: string): ProcessIdentity | undefined {
  try {
    const owner: unknown = JSON.parse(readFileSync(join(directory, OWNER_FILE), 'utf8'));
    if (typeof owner !== 'object' || owner === null) return undefined;
    if (!('pid' in owner) || typeof owner.pid !== 'number') return undefined;
    if (!('startedAt' in owner) || typeof owner.startedAt !== 'string') return undefined;
    return { pid: owner.pid, startedAt: owner.startedAt };
  } catch {
    return undefined;
  }
}
