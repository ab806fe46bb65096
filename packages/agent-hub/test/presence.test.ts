import { createTestRedis, type TestRedis } from '@streamspace/testkit';
import { Presence } from '../src/presence.ts';

let server: TestRedis;
let presence: Presence;

beforeAll(async () => {
  server = await createTestRedis();
  presence = new Presence(server.redis, server.prefix);
});

afterAll(() => server[Symbol.asyncDispose]());

const record = (agentId: string, epoch: number) => ({
  agentId,
  bootId: `boot-${epoch}`,
  connectionId: `connection-${epoch}`,
  epoch,
});

it('says where an agent is', async () => {
  await presence.renew([record('here', 1)]);
  expect(await presence.find('here')).toEqual({
    bootId: 'boot-1',
    connectionId: 'connection-1',
    epoch: 1,
  });
  expect(await presence.find('nowhere')).toBeUndefined();
});

it('does not let an older connection overwrite or remove a newer one', async () => {
  await presence.renew([record('moved', 2)]);
  await presence.renew([record('moved', 1)]);
  await presence.release('moved', 1);
  expect(await presence.find('moved')).toMatchObject({ epoch: 2 });
});

it('puts a record back that redis has lost, for renewing writes it whole', async () => {
  await presence.renew([record('lost', 3)]);
  await server.redis.del(`${server.prefix}:agent:lost`);
  await presence.renew([record('lost', 3)]);
  expect(await presence.find('lost')).toMatchObject({ epoch: 3 });
});

it('forgets an agent that nobody renews, and one that was released', async () => {
  await presence.renew([record('forgotten', 4), record('released', 5)]);
  await presence.release('released', 5);
  const ttlMs = await server.redis.pttl(`${server.prefix}:agent:forgotten`);
  expect(ttlMs).toBeGreaterThan(0);
  expect(ttlMs).toBeLessThanOrEqual(15_000);
  expect(await presence.find('released')).toBeUndefined();
});
