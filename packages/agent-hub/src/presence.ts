import type { Redis } from 'ioredis';
import { z } from 'zod';

const TTL_MS = 15_000;

/** Writes the whole record unless a higher epoch is there: a key that is gone is made anew, never extended. */
const RENEW = `
local held = redis.call('get', KEYS[1])
if held and cjson.decode(held).epoch > tonumber(ARGV[2]) then return 0 end
redis.call('set', KEYS[1], ARGV[1], 'px', ARGV[3])
return 1`;

const RELEASE = `
local held = redis.call('get', KEYS[1])
if held and cjson.decode(held).epoch == tonumber(ARGV[1]) then return redis.call('del', KEYS[1]) end
return 0`;

const recordSchema = z.object({ bootId: z.string(), connectionId: z.string(), epoch: z.int() });
export type PresenceRecord = z.infer<typeof recordSchema>;

/**
 * The address book in Redis: which replica holds an agent's connection. It says where to ask, never
 * what is true: Postgres decides who owns an agent, and the owner puts Redis right.
 */
export class Presence {
  readonly #redis: Redis;
  readonly #prefix: string;

  constructor(redis: Redis, prefix: string) {
    this.#redis = redis;
    this.#prefix = prefix;
  }

  /** All of this replica's agents in one pipeline; throws when Redis is away. */
  async renew(agents: Iterable<PresenceRecord & { readonly agentId: string }>): Promise<void> {
    const pipeline = this.#redis.pipeline();
    for (const { agentId, bootId, connectionId, epoch } of agents) {
      const record = JSON.stringify({ bootId, connectionId, epoch });
      pipeline.eval(RENEW, 1, this.#key(agentId), record, epoch, TTL_MS);
    }
    if (pipeline.length === 0) return;
    const replies = await pipeline.exec();
    const failed = replies?.find(([error]) => error !== null)?.[0];
    if (failed) throw new Error('renewing presence in redis', { cause: failed });
  }

  async release(agentId: string, epoch: number): Promise<void> {
    await this.#redis.eval(RELEASE, 1, this.#key(agentId), epoch);
  }

  async find(agentId: string): Promise<PresenceRecord | undefined> {
    const text = await this.#redis.get(this.#key(agentId));
    return text === null ? undefined : recordSchema.parse(JSON.parse(text));
  }

  #key(agentId: string): string {
    return `${this.#prefix}:agent:${agentId}`;
  }
}
