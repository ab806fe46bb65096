import { once } from 'node:events';
import { connect } from 'node:net';
import { findExecutable } from './find-executable.ts';
import { freePort } from './free-port.ts';
import type { ProcessRegistry } from './process-registry.ts';
import { type ProcessEvent, startProcess, type SupervisedProcess } from './supervised-process.ts';

export interface RedisServerOptions {
  readonly port?: number | undefined;
  readonly name?: string;
  readonly logFile?: string | undefined;
  readonly restartOnExit?: boolean;
  readonly registry?: ProcessRegistry | undefined;
  /** Gives up a start that is under way. */
  readonly signal?: AbortSignal | undefined;
  readonly onEvent?: ((event: ProcessEvent) => void) | undefined;
}

export interface RedisServer extends AsyncDisposable {
  readonly url: string;
  readonly port: number;
  readonly process: SupervisedProcess;
  /** `undefined` while it is down. */
  readonly pid: number | undefined;
  /** Comes back empty: nothing is ever written to disk. */
  start(): Promise<void>;
  stop(): Promise<void>;
  kill(signal?: NodeJS.Signals): void;
}

const HOST = '127.0.0.1';
const REPLY_TIMEOUT_MS = 1_000;

export function findRedisExecutable(): string | undefined {
  return findExecutable({
    names: ['redis-server', 'valkey-server'],
    versionArgument: '--version',
  });
}

async function answersPing(port: number): Promise<boolean> {
  const socket = connect(port, HOST);
  socket.setTimeout(REPLY_TIMEOUT_MS, () => socket.destroy(new Error('no answer in time')));
  try {
    socket.write('PING\r\n');
    const [reply] = await once(socket, 'data');
    return String(reply).startsWith('+PONG');
  } finally {
    socket.destroy();
  }
}

/** Starts a Redis or Valkey of our own on the loopback interface, without persistence. */
export async function startRedis(options: RedisServerOptions = {}): Promise<RedisServer> {
  const command = findRedisExecutable();
  if (command === undefined)
    throw new Error(
      'no Redis found: install redis-server or valkey-server (Debian: apt-get install redis-server), or set REDIS_URL',
    );
  const port = options.port ?? (await freePort());
  const args = ['--port', String(port), '--bind', HOST, '--save', '', '--appendonly', 'no'];
  const supervised = await startProcess({
    name: options.name ?? 'redis',
    command,
    args: [...args, '--daemonize', 'no', '--dir', '/tmp', '--protected-mode', 'yes'],
    isReady: () => answersPing(port),
    logFile: options.logFile,
    restartOnExit: options.restartOnExit,
    registry: options.registry,
    signal: options.signal,
    onEvent: options.onEvent,
  });
  const stop = (): Promise<void> => supervised.stop();
  return {
    url: `redis://${HOST}:${port}`,
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
