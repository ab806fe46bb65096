import { once } from 'node:events';
import type { RedisServer } from '@streamspace/local-stack';
import type { AgentReply } from '@streamspace/protocol';
import { startTestRedis } from '@streamspace/testkit';
import { pino } from 'pino';
import { connectRedis, type RedisConnections } from '../src/redis-connection.ts';
import { ReplicaChannel } from '../src/replica-channel.ts';

let server: RedisServer;
const opened: { channel: ReplicaChannel; redis: RedisConnections }[] = [];

beforeEach(async () => {
  server = await startTestRedis();
});

afterEach(async () => {
  for (const { channel, redis } of opened.splice(0)) {
    await channel.stop();
    redis.commands.disconnect();
    redis.subscriber.disconnect();
  }
  await server.stop();
});

interface TestChannel {
  readonly channel: ReplicaChannel;
  readonly redis: RedisConnections;
  readonly rings: string[];
}

async function open(
  bootId: string,
  answer: () => Promise<AgentReply> = () => Promise.resolve({ ok: true, payload: {} }),
): Promise<TestChannel> {
  const logger = pino({ level: 'silent' });
  const redis = connectRedis(server.url, logger);
  if (redis.commands.status !== 'ready') await once(redis.commands, 'ready');
  const rings: string[] = [];
  const channel = new ReplicaChannel({
    ...redis,
    prefix: 'test',
    bootId,
    logger,
    handler: {
      onRing: (agentIds) => void rings.push(...agentIds),
      onSuperseded: () => undefined,
      onRequest: answer,
    },
  });
  opened.push({ channel, redis });
  channel.start();
  await eventually(async () => {
    expect(await redis.commands.call('PUBSUB', 'SHARDNUMSUB', `test:replica:${bootId}`)).toContain(
      1,
    );
  });
  return { channel, redis, rings };
}

async function eventually(look: () => Promise<void> | void, withinMs = 12_000): Promise<void> {
  const endsAt = performance.now() + withinMs;
  for (;;) {
    try {
      await look();
      return;
    } catch (error) {
      if (performance.now() > endsAt) throw error;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}

const question = { agentId: 'agent-1', kind: 'ping', payload: {} };

it('rings the one replica that is meant', async () => {
  const a = await open('a');
  const b = await open('b');
  const c = await open('c');

  await a.channel.send('b', { type: 'ring', agentIds: ['agent-1'] });

  await eventually(() => expect(b.rings).toEqual(['agent-1']));
  expect(c.rings).toEqual([]);
});

it('brings a question to a replica and its answer back', async () => {
  const a = await open('a');
  await open('b', () => Promise.resolve({ ok: true, payload: { answer: 42 } }));

  expect(await a.channel.request('b', question, 2000)).toEqual({
    ok: true,
    payload: { answer: 42 },
  });
});

it('answers at once that a replica which nobody is is no owner', async () => {
  const a = await open('a');
  const startedAt = performance.now();

  expect(await a.channel.request('gone', question, 5000)).toMatchObject({ code: 'not_owner' });

  expect(performance.now() - startedAt).toBeLessThan(1000);
});

it('gives up after the time that it was given, and forgets a late answer', async () => {
  const a = await open('a');
  await open('b', async () => {
    await new Promise((resolve) => setTimeout(resolve, 400));
    return { ok: true, payload: {} };
  });

  expect(await a.channel.request('b', question, 100)).toMatchObject({ code: 'timeout' });
  await new Promise((resolve) => setTimeout(resolve, 500));
  expect(await a.channel.request('b', question, 2000)).toMatchObject({ ok: true });
});

it('says that the way is away, and does not wait, when redis is', async () => {
  const a = await open('a');
  await server.stop();

  expect(await a.channel.request('b', question, 5000)).toMatchObject({
    code: 'routing_unavailable',
  });
});

it('is heard again after its subscription was killed', async () => {
  const a = await open('a');
  const b = await open('b');
  await a.redis.commands.call('CLIENT', 'KILL', 'TYPE', 'pubsub');

  await eventually(async () => {
    await a.channel.send('b', { type: 'ring', agentIds: ['again'] });
    expect(b.rings).toContain('again');
  });
});

it('subscribes anew when its subscription is alive and delivers nothing', async () => {
  const a = await open('a');
  const b = await open('b');
  // As after a fail-over to a server that never heard of the subscription: connected, and silent.
  await b.redis.subscriber.sunsubscribe('test:replica:b');
  await a.channel.send('b', { type: 'ring', agentIds: ['unheard'] });
  expect(b.rings).toEqual([]);

  await eventually(async () => {
    await a.channel.send('b', { type: 'ring', agentIds: ['heard'] });
    expect(b.rings).toContain('heard');
  }, 20_000);
}, 30_000);
