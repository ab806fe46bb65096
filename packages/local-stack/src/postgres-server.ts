import { resolve } from 'node:path';
import { Client } from 'pg';
import { freePort } from './free-port.ts';
import { findPostgresBinaries } from './postgres-binaries.ts';
import { clearStaleLock, prepareDataDirectory } from './postgres-data-directory.ts';
import type { ProcessRegistry } from './process-registry.ts';
import { type ProcessEvent, startProcess, type SupervisedProcess } from './supervised-process.ts';
import { asUser, unprivilegedUser } from './unprivileged-user.ts';
import { waitUntil } from './wait-until.ts';

export interface PostgresServerOptions {
  /** Created and filled when it is not there, kept when the server stops. */
  readonly dataDir: string;
  readonly port?: number | undefined;
  /** Run-time parameters, as for `postgres -c`. */
  readonly settings?: Readonly<Record<string, string>>;
  readonly logFile?: string | undefined;
  readonly restartOnExit?: boolean;
  readonly registry?: ProcessRegistry | undefined;
  /** Gives up a start that is under way. */
  readonly signal?: AbortSignal | undefined;
  readonly onEvent?: ((event: ProcessEvent) => void) | undefined;
}

export interface PostgresServer extends AsyncDisposable {
  /** Superuser on the database `postgres`; contains the password. */
  readonly url: string;
  readonly port: number;
  readonly process: SupervisedProcess;
  /** `undefined` while it is down. */
  readonly pid: number | undefined;
  start(): Promise<void>;
  stop(): Promise<void>;
  kill(signal?: NodeJS.Signals): void;
}

const HOST = '127.0.0.1';
// Backends of a killed server end on their own within moments; until then the directory is not free.
const ORPHANS_GONE_MS = 10_000;
// Recovery after a crash replays the log before the server lets anybody in.
const READY_TIMEOUT_MS = 60_000;

async function acceptsQueries(connectionString: string): Promise<boolean> {
  const client = new Client({ connectionString, connectionTimeoutMillis: 2_000 });
  client.on('error', () => undefined);
  try {
    await client.connect();
    await client.query('select 1');
    return true;
  } finally {
    await client.end().catch(() => undefined);
  }
}

function settingArguments(settings: Readonly<Record<string, string>>): string[] {
  return Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
}

/** Starts PostgreSQL from npm on the loopback interface; as root it runs as the user `postgres`. */
export async function startPostgres(options: PostgresServerOptions): Promise<PostgresServer> {
  const dataDir = resolve(options.dataDir);
  const { initdb, postgres } = findPostgresBinaries();
  const user = unprivilegedUser();
  const password = prepareDataDirectory({ dataDir, initdb, user });
  const port = options.port ?? (await freePort());
  const url = `postgres://postgres:${password}@${HOST}:${port}/postgres`;
  const settings = {
    listen_addresses: HOST,
    unix_socket_directories: '',
    port: String(port),
    ...options.settings,
  };
  const invocation = asUser(user, {
    command: postgres,
    args: ['-D', dataDir, ...settingArguments(settings)],
    dir: dataDir,
  });
  const supervised = await startProcess({
    ...invocation,
    name: 'postgres',
    beforeStart: async () => {
      await waitUntil(
        () => {
          clearStaleLock(dataDir);
          return true;
        },
        { what: `${dataDir} is free`, timeoutMs: ORPHANS_GONE_MS },
      );
    },
    isReady: () => acceptsQueries(url),
    readyTimeoutMs: READY_TIMEOUT_MS,
    // Fast shutdown: SIGTERM would wait for every client to leave.
    stopSignal: 'SIGINT',
    logFile: options.logFile,
    restartOnExit: options.restartOnExit,
    registry: options.registry,
    signal: options.signal,
    onEvent: options.onEvent,
  });
  const stop = (): Promise<void> => supervised.stop();
  return {
    url,
    port,
    process: supervised,
    get pid() {
      return supervised.pid;
    },
    start: () => supervised.start(),
    stop,
    kill: (signal = 'SIGKILL') => supervised.kill(signal),
    [Symbol.asyncDispose]: stop,
  };
}
