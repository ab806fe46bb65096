import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { findExecutable } from './find-executable.ts';
import { freePort } from './free-port.ts';
import { haproxyConfig } from './haproxy-config.ts';
import type { ProcessRegistry } from './process-registry.ts';
import { type ProcessEvent, startProcess, type SupervisedProcess } from './supervised-process.ts';
import { type Backend, startTcpBalancer } from './tcp-balancer.ts';

export type { Backend };

export interface LoadBalancerOptions {
  readonly port?: number | undefined;
  /** Where it listens; the loopback interface when left out. */
  readonly host?: string;
  readonly backends: readonly Backend[];
  /** A backend gets connections while this answers 200. */
  readonly healthPath?: string;
  /** For HAProxy's configuration, removed when it stops; a temporary one when left out. */
  readonly directory?: string;
  /** HAProxy when it is installed, unless the built-in one is asked for. */
  readonly kind?: LoadBalancer['kind'];
  readonly logFile?: string | undefined;
  readonly restartOnExit?: boolean;
  readonly registry?: ProcessRegistry | undefined;
  /** Gives up a start that is under way. */
  readonly signal?: AbortSignal | undefined;
  readonly onEvent?: ((event: ProcessEvent) => void) | undefined;
}

export interface LoadBalancer extends AsyncDisposable {
  readonly url: string;
  readonly port: number;
  readonly kind: 'haproxy' | 'builtin';
  /** HAProxy's; the built-in one has no process of its own. */
  readonly process: SupervisedProcess | undefined;
  readonly pid: number | undefined;
  stop(): Promise<void>;
}

const HOST = '127.0.0.1';
const HEALTH_PATH = '/readyz';
// HAProxy's SIGTERM ends at once: there is nothing to wait for.
const STOP_GRACE_MS = 2_000;

export function findHaproxyExecutable(): string | undefined {
  return findExecutable({ names: ['haproxy'], versionArgument: '-v' });
}

/** Spreads connections over the backends that are ready: HAProxy, or a small one of our own where that is missing. */
export async function startLoadBalancer(options: LoadBalancerOptions): Promise<LoadBalancer> {
  const port = options.port ?? (await freePort());
  const command = options.kind === 'builtin' ? undefined : findHaproxyExecutable();
  if (command !== undefined) return startHaproxy(command, { ...options, port });
  if (options.kind === 'haproxy') throw new Error('HAProxy is not installed');
  const { host = HOST, backends, healthPath = HEALTH_PATH } = options;
  const balancer = await startTcpBalancer({ host, port, backends, healthPath });
  return {
    url: `http://${HOST}:${port}`,
    port,
    kind: 'builtin',
    process: undefined,
    pid: undefined,
    stop: () => balancer.stop(),
    [Symbol.asyncDispose]: () => balancer.stop(),
  };
}

async function startHaproxy(
  command: string,
  options: LoadBalancerOptions & { readonly port: number },
): Promise<LoadBalancer> {
  const { port, host = HOST, backends, healthPath = HEALTH_PATH } = options;
  const parent = options.directory ?? tmpdir();
  mkdirSync(parent, { recursive: true });
  const directory = mkdtempSync(join(parent, 'streamspace-haproxy-'));
  const configFile = join(directory, 'haproxy.cfg');
  writeFileSync(configFile, haproxyConfig({ host, port, backends, healthPath }));
  const removeDirectory = (): void => rmSync(directory, { recursive: true, force: true });
  const url = `http://${HOST}:${port}`;
  const supervised = await startProcess({
    name: 'haproxy',
    command,
    args: ['-db', '-f', configFile],
    // HAProxy's own answer, whether or not a backend is ready.
    isReady: async () => (await fetch(`${url}/haproxy-ready`)).status === 200,
    stopGraceMs: STOP_GRACE_MS,
    logFile: options.logFile,
    restartOnExit: options.restartOnExit,
    registry: options.registry,
    signal: options.signal,
    onEvent: options.onEvent,
  }).catch((error: unknown) => {
    removeDirectory();
    throw error;
  });
  const stop = async (): Promise<void> => {
    await supervised.stop();
    removeDirectory();
  };
  return {
    url,
    port,
    kind: 'haproxy',
    process: supervised,
    get pid() {
      return supervised.pid;
    },
    stop,
    [Symbol.asyncDispose]: stop,
  };
}
