import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server } from 'node:http';
import { connect } from 'node:net';
import {
  freePort,
  isRunning,
  identifyProcess,
  type LoadBalancer,
  startLoadBalancer,
  waitUntil,
} from '@streamspace/local-stack';

/** A replica as the balancer sees it: says who it is, and can be made unready. */
class FakeReplica {
  isReady = true;
  readonly requests: IncomingMessage[] = [];
  readonly port: number;
  readonly #name: string;
  #server: Server | undefined;

  constructor(name: string, port: number) {
    this.#name = name;
    this.port = port;
  }

  async listen(): Promise<void> {
    const server = createServer((request, response) => {
      if (request.url === '/readyz') {
        response.writeHead(this.isReady ? 200 : 503).end();
        return;
      }
      this.requests.push(request);
      response.end(this.#name);
    });
    server.on('upgrade', (_request, socket) => {
      socket.write(
        'HTTP/1.1 101 Switching Protocols\r\nupgrade: echo\r\nconnection: upgrade\r\n\r\n',
      );
      socket.pipe(socket);
    });
    server.listen(this.port, '127.0.0.1');
    await once(server, 'listening');
    this.#server = server;
  }

  /** As a kill does: the port refuses, open connections are reset. */
  async vanish(): Promise<void> {
    const server = this.#server;
    if (!server) return;
    this.#server = undefined;
    server.close();
    server.closeAllConnections();
    await once(server, 'close');
  }
}

async function ask(balancer: LoadBalancer, path = '/'): Promise<string> {
  const response = await fetch(`${balancer.url}${path}`, { headers: { connection: 'close' } });
  const text = await response.text();
  return response.status === 200 ? text : String(response.status);
}

/** Who answers, in the order of the alphabet. */
async function namesIn(balancer: LoadBalancer): Promise<string> {
  const answers = new Set<string>();
  for (let i = 0; i < 6; i++) answers.add(await ask(balancer));
  return [...answers].toSorted().join('');
}

// Above the largest that Linux gives out.
const NO_SUCH_PID = 2 ** 22 + 1;

async function eventually(read: () => Promise<string>, expected: string): Promise<boolean> {
  return waitUntil(async () => (await read()) === expected, { what: `it says ${expected}` });
}

describe.each(['haproxy', 'builtin'] as const)('load balancer %s', (kind) => {
  let replicas: FakeReplica[];
  let balancer: LoadBalancer;

  beforeEach(async () => {
    replicas = [];
    for (const name of ['a', 'b', 'c']) {
      const replica = new FakeReplica(name, await freePort());
      await replica.listen();
      replicas.push(replica);
    }
    const backends = replicas.map(({ port }) => ({ host: '127.0.0.1', port }));
    balancer = await startLoadBalancer({ backends, kind });
  });

  afterEach(async () => {
    await balancer.stop();
    for (const replica of replicas) await replica.vanish();
  });

  it('spreads requests over all replicas', async () => {
    const answers = new Set<string>();
    for (let i = 0; i < 6; i++) answers.add(await ask(balancer));
    expect([...answers].toSorted()).toEqual(['a', 'b', 'c']);
  });

  it('a replica that was just killed costs no request', async () => {
    await ask(balancer);
    await replicas[0]!.vanish();
    const answers = new Set<string>();
    for (let i = 0; i < 30; i++) answers.add(await ask(balancer));
    expect([...answers].toSorted()).toEqual(['b', 'c']);
  });

  it('leaves out a replica that is not ready and takes it back', async () => {
    replicas[1]!.isReady = false;
    await eventually(() => namesIn(balancer), 'ac');
    replicas[1]!.isReady = true;
    await expect(eventually(() => namesIn(balancer), 'abc')).resolves.toBe(true);
  });

  it('answers 503 when no replica is left', async () => {
    for (const replica of replicas) await replica.vanish();
    await expect(eventually(() => ask(balancer), '503')).resolves.toBe(true);
  });

  it('carries an upgraded connection, also while its replica is not ready', async () => {
    const socket = connect(balancer.port, '127.0.0.1');
    socket.write('GET /echo HTTP/1.1\r\nhost: x\r\nupgrade: echo\r\nconnection: upgrade\r\n\r\n');
    expect(String(await once(socket, 'data'))).toContain('101');
    for (const replica of replicas) replica.isReady = false;
    await eventually(() => ask(balancer), '503');
    socket.write('ping');
    expect(String(await once(socket, 'data'))).toBe('ping');
    socket.destroy();
  });

  it('listens no more after stop', async () => {
    const identity = identifyProcess(balancer.pid ?? NO_SUCH_PID);
    await balancer.stop();
    await expect(ask(balancer)).rejects.toThrow('fetch failed');
    expect(identity !== undefined && isRunning(identity)).toBe(false);
  });
});

it('HAProxy tells the replica whose request it is', async () => {
  const replica = new FakeReplica('a', await freePort());
  await replica.listen();
  await using balancer = await startLoadBalancer({
    backends: [{ host: '127.0.0.1', port: replica.port }],
    kind: 'haproxy',
  });
  await ask(balancer);
  expect(replica.requests[0]!.headers['x-forwarded-for']).toBe('127.0.0.1');
  await replica.vanish();
});
