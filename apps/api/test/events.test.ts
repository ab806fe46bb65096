import { createClient } from '@streamspace/client';
import { startFaultProxy } from '@streamspace/testkit';
import { TokenStore } from '../src/access/token-store.ts';
import { openStream, takeUntil, type TestStream } from './live-events.ts';
import {
  createTestAgent,
  createToken,
  eventually,
  startTestApi,
  type TestApi,
} from './test-api.ts';

let test: TestApi;
let agentId: string;
const open: TestStream[] = [];

beforeAll(async () => {
  test = await startTestApi({ replicas: 2 });
  agentId = await createTestAgent(test.db);
});

afterEach(() => {
  for (const opened of open.splice(0)) opened.close();
});

afterAll(async () => test[Symbol.asyncDispose]());

async function stream(
  replica: number,
  options: { token?: string; lastEventId?: string; query?: string } = {},
): Promise<TestStream> {
  const opened = await openStream(test.replicas[replica]!.url, {
    token: test.tokens.admin,
    ...options,
  });
  open.push(opened);
  const isResumed = options.lastEventId !== undefined || options.query?.includes('lastEventId');
  await eventually(() => expect(isResumed === true || opened.ids.length > 0).toBe(true));
  return opened;
}

const createSession = (token: string = test.tokens.admin) =>
  test.client(token).sessions.create({ template: 'hello-web', agentId });

const sessionIds = (seen: TestStream): unknown[] =>
  seen.events.filter(({ event }) => event === 'session').map(({ data }) => data['session']?.['id']);

it('tells on every replica what happens on any', async () => {
  const [near, far] = [await stream(0), await stream(1)];
  const { session, command } = await createSession();
  for (const seen of [near, far])
    await eventually(() => {
      expect(sessionIds(seen)).toEqual([session.id]);
      expect(seen.events.map(({ data }) => data['command']?.['id'])).toContain(command!.id);
    });
  expect(near.events.map(({ id }) => id)).toEqual(far.events.map(({ id }) => id));
});

it('tells a user of their own, and nothing of agents', async () => {
  const [alices, bobs, olgas] = [
    await stream(0, { token: test.tokens.alice }),
    await stream(1, { token: test.tokens.bob }),
    await stream(1, { token: test.tokens.operator }),
  ];
  const { session: alice } = await createSession(test.tokens.alice);
  await test.client().agents.create({ agentId: 'told', platform: 'process' });
  const { session: bob } = await createSession(test.tokens.bob);
  await eventually(() => expect(sessionIds(olgas)).toEqual([alice.id, bob.id]));
  await eventually(() => expect(sessionIds(bobs)).toEqual([bob.id]));
  expect(sessionIds(alices)).toEqual([alice.id]);
  for (const seen of [alices, bobs])
    expect(new Set(seen.events.map(({ event }) => event))).toEqual(new Set(['session', 'command']));
  expect(olgas.events.map(({ event }) => event)).toContain('agent');
});

it('sends only the types that were asked for', async () => {
  const commands = await stream(0, { query: '?types=command' });
  const both = await stream(0, { query: '?types=command,session' });
  await createSession();
  await eventually(() => expect(both.events).toHaveLength(2));
  expect(commands.events.map(({ event }) => event)).toEqual(['command']);
});

it('goes on where it ended, on another replica, event by event', async () => {
  const first = await stream(0);
  const sessions = [];
  for (let i = 0; i < 5; i += 1) sessions.push((await createSession()).session.id);
  await eventually(() => expect(first.events).toHaveLength(10));
  for (const [index, { id }] of first.events.entries()) {
    const resumed = await stream(1, { lastEventId: id });
    await eventually(() =>
      expect(resumed.events.map((event) => event.id)).toEqual(
        first.events.slice(index + 1).map((event) => event.id),
      ),
    );
  }
  const later = await createSession();
  const byQuery = await stream(1, { query: `?lastEventId=${first.events[9]!.id}` });
  await eventually(() => expect(sessionIds(byQuery)).toEqual([later.session.id]));
  expect(sessionIds(first)).toEqual([...sessions, later.session.id]);
});

it('misses and repeats nothing while it joins, however busy it is', async () => {
  const before = await stream(0);
  const busy = Promise.all(Array.from({ length: 60 }, () => createSession()));
  await eventually(() => expect(before.events.length).toBeGreaterThan(5));
  const resumed = await Promise.all(
    Array.from({ length: 8 }, (_, i) =>
      stream(i % 2, { lastEventId: before.events[Math.min(i, 5)]!.id }),
    ),
  );
  await busy;
  await eventually(() => expect(before.events).toHaveLength(120));
  for (const [i, seen] of resumed.entries()) {
    const expected = before.events.slice(Math.min(i, 5) + 1).map(({ id }) => id);
    await eventually(() => expect(seen.events).toHaveLength(expected.length));
    expect(seen.events.map(({ id }) => id)).toEqual(expected);
  }
});

it.each([
  ['of another generation', (id: string) => id.replace(/^\w{16}/, 'f'.repeat(16))],
  ['newer than the end', (id: string) => id.replace(/-\d+-/, '-9999999999999-')],
  ['no id at all', () => 'nonsense'],
])('tells a client to load afresh whose id is %s', async (_what, change) => {
  const first = await stream(0);
  const resumed = await stream(1, { lastEventId: change(first.ids[0]!) });
  await eventually(() => expect(resumed.events.map(({ event }) => event)).toEqual(['reset']));
  const { session } = await createSession();
  await eventually(() => expect(sessionIds(resumed)).toEqual([session.id]));
});

it('tells a client to load afresh whose id is older than the history', async () => {
  const first = await stream(0);
  const [id] = first.ids;
  await createSession();
  await eventually(() => expect(first.events).toHaveLength(2));
  await test.redis.redis.xtrim(`${test.redis.prefix}:events`, 'MAXLEN', 0);
  await createSession();
  const resumed = await stream(1, { lastEventId: id! });
  await eventually(() => expect(resumed.events[0]).toMatchObject({ event: 'reset' }));
});

it('tells everybody to load afresh where Redis was emptied or a replica has vanished', async () => {
  const [near, far] = [await stream(0), await stream(1)];
  test.replicas[1]!.app.events.markGap();
  for (const seen of [near, far])
    await eventually(() => expect(seen.events.map(({ event }) => event)).toEqual(['reset']));
  await test.redis.redis.del(...(await test.redis.keys()));
  const { session } = await createSession();
  for (const seen of [near, far]) {
    await eventually(() => expect(seen.events.length).toBeGreaterThan(1));
    expect(seen.events[1]).toMatchObject({ event: 'reset' });
  }
  const resumed = await stream(1, { lastEventId: near.ids[0]! });
  await eventually(() => expect(resumed.events.map(({ event }) => event)).toEqual(['reset']));
  expect(session.state).toBe('pending');
});

it('ends with the token that opened it', async () => {
  const store = new TokenStore(test.db);
  const token = await createToken(store, 'carol', 'user');
  const carols = await stream(0, { token });
  const [stored] = (await store.list()).filter(({ userId }) => userId === 'carol');
  expect(await store.revoke(stored!.tokenId)).toBe(true);
  await eventually(() => expect(carols.isOver()).toBe(true), 12_000);
}, 20_000);

it('is read by the client, which goes on after a cut', async () => {
  const { port } = new URL(test.api.url);
  await using proxy = await startFaultProxy({ target: { host: '127.0.0.1', port: Number(port) } });
  const url = `http://${proxy.host}:${proxy.port}`;
  const abort = new AbortController();
  const notices = createClient({ url, token: test.tokens.admin }).events({
    types: ['session'],
    signal: abort.signal,
  });
  await takeUntil(notices, ({ type }) => type === 'open');
  const first = await createSession();
  await takeUntil(notices, (notice) => JSON.stringify(notice).includes(first.session.id));
  const next = takeUntil(notices, ({ type }) => type === 'event');
  proxy.reset();
  const second = await createSession();
  expect(await next).toHaveLength(1);
  expect(JSON.stringify(await next)).toContain(second.session.id);
  abort.abort();
  expect(await notices.next()).toEqual({ done: true, value: undefined });
});

it('ends every stream of a replica that is to end, and opens none', async () => {
  const near = await stream(0);
  test.replicas[0]!.app.events.closeClients();
  await eventually(() => expect(near.isOver()).toBe(true));
  const late = await openStream(test.replicas[0]!.url, { token: test.tokens.admin });
  await eventually(() => expect(late.isOver()).toBe(true));
  expect(test.replicas[0]!.app.events.clientCount).toBe(0);
  const elsewhere = await stream(1, { lastEventId: near.ids[0]! });
  const { session } = await createSession();
  await eventually(() => expect(sessionIds(elsewhere)).toContain(session.id));
});
