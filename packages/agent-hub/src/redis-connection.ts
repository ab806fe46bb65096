import { Redis } from 'ioredis';
import type { Logger } from 'pino';

export interface RedisConnections {
  /** Fails at once while Redis is away: nothing waits for what may be lost. */
  readonly commands: Redis;
  /** In subscriber mode; subscribes again by itself. */
  readonly subscriber: Redis;
}

const MAX_RECONNECT_DELAY_MS = 1000;
/** A black hole is noticed by this, not by TCP. */
const COMMAND_TIMEOUT_MS = 1000;

/** Two connections that never end the process: what they throw is the caller's to count. */
export function connectRedis(url: string, logger: Logger): RedisConnections {
  const options = {
    connectTimeout: 2000,
    keepAlive: 5000,
    retryStrategy: (attempt: number) => Math.min(50 * attempt, MAX_RECONNECT_DELAY_MS),
  };
  const commands = new Redis(url, {
    ...options,
    enableOfflineQueue: false,
    maxRetriesPerRequest: 0,
    commandTimeout: COMMAND_TIMEOUT_MS,
    autoResendUnfulfilledCommands: false,
  });
  const subscriber = new Redis(url, { ...options, maxRetriesPerRequest: null });
  for (const [role, client] of Object.entries({ commands, subscriber }))
    reportAvailability(client, logger.child({ connection: role }));
  return { commands, subscriber };
}

/** One line when it goes and one when it is back, not one a retry. */
function reportAvailability(client: Redis, logger: Logger): void {
  let isAway = false;
  client.on('error', (err: Error) => {
    if (!isAway) logger.warn({ err }, 'redis is away; work goes on through the sweep');
    isAway = true;
  });
  client.on('ready', () => {
    if (isAway) logger.info('redis is back');
    isAway = false;
  });
}
