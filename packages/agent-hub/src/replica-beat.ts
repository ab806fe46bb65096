import type { Redis } from 'ioredis';
import type { Logger } from 'pino';
import { z } from 'zod';
import { startPeriodic, type Periodic } from './periodic.ts';
import type { ReplicaStore } from './replica-store.ts';
import type { Replica } from './replica.ts';

const BEAT_EVERY_MS = 2000;
const RECORD_TTL_MS = 6000;
/** Out of the load balancer's rotation after this, while a peer says that it has Postgres... */
const CUT_OFF_AFTER_MS = 5000;
/** ...and its agents move after this. */
const MOVE_AGENTS_AFTER_MS = 10_000;

const recordSchema = z.object({ hasPostgres: z.boolean() });

export interface ReplicaHealth {
  readonly postgres: 'ok' | 'away';
  readonly redis: 'ok' | 'away';
  /** Without Postgres for 5 s although a peer has it: this one is the odd one out. */
  readonly isCutOff: boolean;
}

export interface ReplicaBeatOptions {
  readonly replicas: ReplicaStore;
  readonly redis: Redis;
  readonly prefix: string;
  readonly replica: Replica;
  readonly logger: Logger;
  readonly onCutOff: () => void;
}

/**
 * Says every 2 s that this replica is there: a row in Postgres, by which its agents are online, and a
 * record in Redis, by which a peer that has lost Postgres learns whether all have.
 */
export class ReplicaBeat {
  readonly #options: ReplicaBeatOptions;
  #loop: Periodic | undefined;
  #peers: readonly string[] = [];
  #isDraining = false;
  #postgresSince = performance.now();
  #hasPostgres = true;
  #hasRedis = true;
  #isCutOff = false;
  #agentsMoved = false;

  constructor(options: ReplicaBeatOptions) {
    this.#options = options;
  }

  get health(): ReplicaHealth {
    return {
      postgres: this.#hasPostgres ? 'ok' : 'away',
      redis: this.#hasRedis ? 'ok' : 'away',
      isCutOff: this.#isCutOff,
    };
  }

  get installationId(): string {
    return this.#options.replicas.installationId;
  }

  /** Resolves after the first beat: from then on agents of this replica count as online. */
  async start(): Promise<void> {
    await this.#options.replicas.load();
    this.#peers = await this.#options.replicas.beat(this.#options.replica, false);
    this.#loop = startPeriodic({
      everyMs: BEAT_EVERY_MS,
      run: () => this.#beat(),
      onError: (err) => this.#options.logger.error({ err }, 'the replica’s beat failed'),
    });
  }

  setDraining(): void {
    this.#isDraining = true;
    this.#loop?.trigger();
  }

  async stop(): Promise<void> {
    await this.#loop?.stop();
    const { redis, prefix, replica } = this.#options;
    await redis.del(`${prefix}:replica:${replica.bootId}`).catch(() => undefined);
  }

  async #beat(): Promise<void> {
    await Promise.all([this.#beatPostgres(), this.#beatRedis()]);
    await this.#lookAround();
  }

  async #beatPostgres(): Promise<void> {
    const { replicas, replica, logger } = this.#options;
    try {
      this.#peers = await replicas.beat(replica, this.#isDraining);
      if (!this.#hasPostgres) logger.info('postgres is back');
      this.#hasPostgres = true;
      this.#postgresSince = performance.now();
    } catch (err) {
      if (this.#hasPostgres) logger.warn({ err }, 'postgres is away; agents and results wait');
      this.#hasPostgres = false;
    }
  }

  async #beatRedis(): Promise<void> {
    const { redis, prefix, replica } = this.#options;
    const record = JSON.stringify({
      name: replica.name,
      address: replica.address,
      isDraining: this.#isDraining,
      hasPostgres: this.#hasPostgres,
    });
    try {
      await redis.set(`${prefix}:replica:${replica.bootId}`, record, 'PX', RECORD_TTL_MS);
      this.#hasRedis = true;
    } catch {
      this.#hasRedis = false;
    }
  }

  async #lookAround(): Promise<void> {
    const awayMs = performance.now() - this.#postgresSince;
    if (this.#hasPostgres || awayMs < CUT_OFF_AFTER_MS) {
      this.#isCutOff = false;
      this.#agentsMoved = false;
      return;
    }
    this.#isCutOff = await this.#someoneHasPostgres();
    if (!this.#isCutOff || awayMs < MOVE_AGENTS_AFTER_MS || this.#agentsMoved) return;
    this.#agentsMoved = true;
    this.#options.onCutOff();
  }

  /** The peers known from before; who has none, or no Redis, cannot tell and stays in rotation. */
  async #someoneHasPostgres(): Promise<boolean> {
    const { redis, prefix } = this.#options;
    try {
      const records = await Promise.all(
        this.#peers.map((bootId) => redis.get(`${prefix}:replica:${bootId}`)),
      );
      return records.some(
        (text) => text !== null && recordSchema.safeParse(JSON.parse(text)).data?.hasPostgres,
      );
    } catch {
      return false;
    }
  }
}
