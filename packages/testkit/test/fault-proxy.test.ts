import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { type FaultProxy, startFaultProxy } from '@streamspace/testkit';
import { waitUntil } from '@streamspace/local-stack';

let target: Server;
let targetSockets: Socket[];
let received: string;
let proxy: FaultProxy;
let client: Socket;

beforeEach(async () => {
  targetSockets = [];
  received = '';
  target = createServer((socket) => {
    targetSockets.push(socket);
    socket.on('error', () => undefined);
    socket.on('data', (chunk) => {
      received += String(chunk);
      socket.write(`echo ${String(chunk)}`);
    });
  });
  target.listen(0, '127.0.0.1');
  await once(target, 'listening');
  const { port } = target.address() as AddressInfo;
  proxy = await startFaultProxy({ target: { host: '127.0.0.1', port } });
  client = await dial();
});

afterEach(async () => {
  client.destroy();
  await proxy.stop();
  for (const socket of targetSockets) socket.destroy();
  target.close();
  await once(target, 'close');
});

async function dial(): Promise<Socket> {
  const socket = connect(proxy.port, proxy.host);
  socket.setEncoding('utf8');
  socket.on('error', () => undefined);
  await once(socket, 'connect');
  return socket;
}

/** `silence` when nothing comes in time. */
async function nextText(socket: Socket, timeoutMs = 2_000): Promise<string> {
  const read = once(socket, 'data', { signal: AbortSignal.timeout(timeoutMs) });
  return read.then(
    ([text]) => String(text),
    () => 'silence',
  );
}

it('passes bytes both ways', async () => {
  client.write('one');
  expect(await nextText(client)).toBe('echo one');
});

it('passes the end of a connection', async () => {
  client.write('one');
  await nextText(client);
  targetSockets[0]!.end();
  await once(client, 'end');
  client.end();
  await waitUntil(() => proxy.connections === 0, { what: 'the link is forgotten' });
  expect(proxy.connections).toBe(0);
});

it('delays every chunk and keeps their order', async () => {
  proxy.setFault({ kind: 'delay', ms: 100 });
  const startedAt = performance.now();
  client.write('one');
  expect(await nextText(client)).toBe('echo one');
  expect(performance.now() - startedAt).toBeGreaterThan(190);
});

it('a black hole swallows bytes and ends alike, and gives them back when it is lifted', async () => {
  client.write('one');
  await nextText(client);
  proxy.setFault({ kind: 'black-hole' });
  let isEnded = false;
  client.on('end', () => (isEnded = true));
  client.write('two');
  expect(await nextText(client, 200)).toBe('silence');
  targetSockets[0]!.end();
  await delay(100);
  expect(isEnded).toBe(false);
  proxy.setFault({ kind: 'pass' });
  await once(client, 'end');
  expect(isEnded).toBe(true);
});

it('a black hole in one direction lets the other one through', async () => {
  proxy.setFault({ kind: 'black-hole' }, 'to-client');
  client.write('one');
  await waitUntil(() => received === 'one', { what: 'the target was reached' });
  expect(await nextText(client, 200)).toBe('silence');
  proxy.setFault({ kind: 'pass' });
  expect(await nextText(client)).toBe('echo one');
});

it('new connections in a black hole stay silent', async () => {
  proxy.setFault({ kind: 'black-hole' });
  const second = await dial();
  second.write('hello');
  expect(await nextText(second, 200)).toBe('silence');
  second.destroy();
});

it('holds back a sender that goes on in a black hole', async () => {
  proxy.setFault({ kind: 'black-hole' });
  const chunk = Buffer.alloc(1_000_000);
  for (let i = 0; i < 50; i++) client.write(chunk);
  await delay(300);
  expect(client.writableLength).toBeGreaterThan(20_000_000);
});

it('resets both ends', async () => {
  client.write('one');
  await nextText(client);
  const failures = [client, targetSockets[0]!].map(async (socket) => {
    const [error] = await once(socket, 'error');
    return (error as NodeJS.ErrnoException).code;
  });
  proxy.reset();
  expect(await Promise.race(failures)).toBe('ECONNRESET');
  const again = await dial();
  again.write('two');
  expect(await nextText(again)).toBe('echo two');
  again.destroy();
});

it('refuses new connections and keeps those that are open', async () => {
  proxy.refuse();
  const refused = connect(proxy.port, proxy.host);
  await expect(once(refused, 'data')).rejects.toThrow('ECONNRESET');
  client.write('one');
  expect(await nextText(client)).toBe('echo one');
});
