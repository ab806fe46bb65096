import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';

export interface Backend {
  readonly host: string;
  readonly port: number;
}

export interface TcpBalancerOptions {
  readonly host: string;
  readonly port: number;
  readonly backends: readonly Backend[];
  readonly healthPath: string;
}

export interface TcpBalancer {
  stop(): Promise<void>;
}

/** With these, one that accepts and does not answer is down within 3 s. */
const CHECK_INTERVAL_MS = 400;
const CHECK_AFTER_FAILURE_MS = 100;
const CHECK_TIMEOUT_MS = 1_000;
const CONNECT_TIMEOUT_MS = 5_000;
/** In a row, before a backend gets no more new connections. */
const FAILURES_UNTIL_DOWN = 2;

class BackendPool {
  readonly #backends: readonly Backend[];
  readonly #failures: Map<Backend, number>;
  #turn = 0;

  constructor(backends: readonly Backend[]) {
    this.#backends = backends;
    // Down until a check says otherwise.
    this.#failures = new Map(backends.map((backend) => [backend, FAILURES_UNTIL_DOWN]));
  }

  record(backend: Backend, hasAnswered: boolean): void {
    this.#failures.set(backend, hasAnswered ? 0 : (this.#failures.get(backend) ?? 0) + 1);
  }

  isInDoubt(backend: Backend): boolean {
    return (this.#failures.get(backend) ?? 0) > 0;
  }

  /** The healthy ones, beginning with whose turn it is. */
  inTurn(): Backend[] {
    const healthy = this.#backends.filter(
      (backend) => (this.#failures.get(backend) ?? 0) < FAILURES_UNTIL_DOWN,
    );
    if (healthy.length === 0) return [];
    const first = this.#turn++ % healthy.length;
    return [...healthy.slice(first), ...healthy.slice(0, first)];
  }
}

async function isHealthy({ host, port }: Backend, path: string): Promise<boolean> {
  try {
    const response = await fetch(`http://${host}:${port}${path}`, {
      headers: { connection: 'close' },
      signal: AbortSignal.timeout(CHECK_TIMEOUT_MS),
    });
    await response.body?.cancel();
    return response.status === 200;
  } catch {
    return false;
  }
}

async function connectTo({ host, port }: Backend): Promise<Socket | undefined> {
  const socket = connect({ host, port, noDelay: true });
  try {
    await once(socket, 'connect', { signal: AbortSignal.timeout(CONNECT_TIMEOUT_MS) });
    return socket;
  } catch {
    socket.destroy();
    return undefined;
  }
}

function join(client: Socket, backend: Socket): void {
  for (const [from, to] of [
    [client, backend],
    [backend, client],
  ] as const) {
    from.pipe(to);
    from.on('error', () => to.destroy());
    from.on('close', () => to.destroy());
  }
}

/**
 * Round robin by connection, for machines without HAProxy. It sees bytes, not requests: no X-Forwarded-For, and a client
 * that keeps its connection stays with its backend. When a backend cannot be reached the next one is tried.
 */
export async function startTcpBalancer(options: TcpBalancerOptions): Promise<TcpBalancer> {
  const pool = new BackendPool(options.backends);
  const sockets = new Set<Socket>();
  const stopping = new AbortController();
  const track = (socket: Socket): void => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
  };
  const serve = async (client: Socket): Promise<void> => {
    for (const backend of pool.inTurn()) {
      const upstream = await connectTo(backend);
      if (!upstream) {
        pool.record(backend, false);
        continue;
      }
      track(upstream);
      join(client, upstream);
      // It left while we were connecting: its close has been and gone.
      if (client.destroyed) upstream.destroy();
      return;
    }
    client.end(
      'HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nconnection: close\r\n\r\n',
    );
  };
  const check = async (backend: Backend): Promise<void> => {
    pool.record(backend, await isHealthy(backend, options.healthPath));
  };
  const keepChecking = async (backend: Backend): Promise<void> => {
    while (!stopping.signal.aborted) {
      const waitMs = pool.isInDoubt(backend) ? CHECK_AFTER_FAILURE_MS : CHECK_INTERVAL_MS;
      await delay(waitMs, undefined, { signal: stopping.signal }).catch(() => undefined);
      await check(backend);
    }
  };
  await Promise.all(options.backends.map((backend) => check(backend)));

  const server = createServer({ allowHalfOpen: true, noDelay: true }, (client) => {
    track(client);
    client.on('error', () => client.destroy());
    void serve(client);
  });
  server.listen(options.port, options.host);
  await once(server, 'listening');
  const checks = options.backends.map((backend) => keepChecking(backend));
  return {
    async stop() {
      stopping.abort();
      server.close();
      for (const socket of sockets) socket.destroy();
      await Promise.all(checks);
    },
  };
}
