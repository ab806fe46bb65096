import { connectRedis, type RedisConnections } from '@streamspace/agent-hub';
import { connectDatabase } from '@streamspace/database';
import { Redis } from 'ioredis';
import type { Knex } from 'knex';
import type { Logger } from 'pino';
import type { Config } from './config.ts';

export interface Stores {
  readonly db: Knex;
  readonly redis: RedisConnections;
  /** A further connection, for reads that block. */
  readonly connectReader: () => Redis;
  close(): Promise<void>;
}

const MAX_RECONNECT_DELAY_MS = 1000;
/** Longer than a read blocks: a connection that is silent for this long is a black hole. */
const READER_SILENCE_MS = 10_000;

export function connectStores({ database, redis, replica }: Config, logger: Logger): Stores {
  const db = connectDatabase({
    ...database,
    applicationName: `streamspace-api ${replica.name}`,
    onError: (err) => logger.warn({ err }, 'an idle connection to postgres was lost'),
  });
  const connections = connectRedis(redis.url, logger);
  return {
    db,
    redis: connections,
    connectReader: () => {
      const reader = new Redis(redis.url, {
        connectTimeout: 2000,
        keepAlive: 5000,
        socketTimeout: READER_SILENCE_MS,
        maxRetriesPerRequest: null,
        retryStrategy: (attempt) => Math.min(50 * attempt, MAX_RECONNECT_DELAY_MS),
      });
      // Whoever reads finds out, and the other connections have said so.
      reader.on('error', () => undefined);
      return reader;
    },
    async close() {
      await db.destroy();
      connections.commands.disconnect();
      connections.subscriber.disconnect();
    },
  };
}
