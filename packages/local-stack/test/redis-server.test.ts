import { isPortFree } from '@streamspace/local-stack';
import { startTestRedis } from '@streamspace/testkit';
import { Redis } from 'ioredis';

async function withRedis<T>(url: string, work: (redis: Redis) => Promise<T>): Promise<T> {
  const redis = new Redis(url, { maxRetriesPerRequest: 1 });
  redis.on('error', () => undefined);
  try {
    return await work(redis);
  } finally {
    redis.disconnect();
  }
}

it('a killed Redis comes back empty on the same port', async () => {
  await using server = await startTestRedis();
  await withRedis(server.url, (redis) => redis.set('key', 'value'));
  const firstPid = server.pid;
  server.kill();
  await server.process.waitForExit();
  await server.start();
  expect(server.pid).not.toBe(firstPid);
  expect(await withRedis(server.url, (redis) => redis.get('key'))).toBeNull();
});

it('a stopped Redis leaves its port', async () => {
  const server = await startTestRedis();
  await server.stop();
  expect(await isPortFree(server.port)).toBe(true);
});
