import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { ProcessRegistry, type RedisServer, startRedis } from '@streamspace/local-stack';
import { Redis } from 'ioredis';
import { testEnvironment } from './test-environment.ts';

/** A server of the test's own, to be killed, stopped and emptied at will. Dispose it. */
export async function startTestRedis(options: { port?: number } = {}): Promise<RedisServer> {
  return startRedis({ ...options, registry: testProcessRegistry() });
}

/** Children of all test files are recorded here, so that the end of the run finds them even after a crash. */
export function testProcessRegistry(): ProcessRegistry {
  return new ProcessRegistry(join(testEnvironment().runDir, 'processes'));
}

export interface TestRedis extends AsyncDisposable {
  readonly url: string;
  /** Begin every key and channel with it. */
  readonly prefix: string;
  readonly redis: Redis;
  /** Names of all keys with the prefix, sorted. */
  keys(): Promise<string[]>;
}

const SCAN_COUNT = 1_000;

async function scan(redis: Redis, pattern: string): Promise<string[]> {
  const keys = new Set<string>();
  let cursor = '0';
  do {
    const [next, batch] = await redis.scan(cursor, 'MATCH', pattern, 'COUNT', SCAN_COUNT);
    for (const key of batch) keys.add(key);
    cursor = next;
  } while (cursor !== '0');
  return [...keys].toSorted();
}

/** The run's shared server, under a prefix of its own; what is left under it is removed on disposal. */
export async function createTestRedis(): Promise<TestRedis> {
  const { redisUrl } = testEnvironment();
  const prefix = `test-${randomBytes(6).toString('hex')}`;
  const redis = new Redis(redisUrl, { maxRetriesPerRequest: 2 });
  redis.on('error', () => undefined);
  await redis.ping();
  const keys = (): Promise<string[]> => scan(redis, `${prefix}*`);
  return {
    url: redisUrl,
    prefix,
    redis,
    keys,
    async [Symbol.asyncDispose]() {
      const left = await keys();
      if (left.length > 0) await redis.del(...left);
      await redis.quit();
    },
  };
}
