import type { Knex } from 'knex';
import { findMissingMigrations } from '@streamspace/database';
import { setTimeout as delay } from 'node:timers/promises';

/** What the hub learns by beating; see its `ReplicaHealth`. */
export interface StoreHealth {
  readonly postgres: 'ok' | 'away';
  readonly redis: 'ok' | 'away';
  /** Without Postgres although a peer has it: this replica is the odd one out. */
  readonly isCutOff: boolean;
}

export interface ReadinessReport {
  readonly status: 'ready' | 'degraded' | 'starting' | 'draining' | 'cut_off';
  readonly isReady: boolean;
  readonly postgres: string;
  readonly redis: string;
  readonly missingMigrations: readonly string[];
}

const POLL_MS = 500;

/**
 * Whether a load balancer should send requests here. A store that is away for everybody leaves a
 * replica in rotation: without Redis it works on by polling, and without Postgres it answers 503 with
 * Retry-After, which is more than a load balancer without a backend would say.
 */
export class Readiness {
  #phase: 'starting' | 'serving' | 'draining' = 'starting';
  #missing: readonly string[] = [];
  #health: (() => StoreHealth) | undefined;

  get isStarted(): boolean {
    return this.#phase !== 'starting';
  }

  /** Replicas wait for the migrator and never migrate by themselves. */
  async waitForSchema(db: Knex, signal: AbortSignal): Promise<void> {
    for (;;) {
      signal.throwIfAborted();
      try {
        this.#missing = await findMissingMigrations(db);
        this.#health = undefined;
        if (this.#missing.length === 0) return;
      } catch {
        this.#health = () => ({ postgres: 'away', redis: 'ok', isCutOff: false });
      }
      await delay(POLL_MS, undefined, { signal });
    }
  }

  serve(health: () => StoreHealth): void {
    this.#health = health;
    this.#phase = 'serving';
  }

  drain(): void {
    this.#phase = 'draining';
  }

  report(): ReadinessReport {
    const health = this.#health?.();
    const status = this.#status(health);
    return {
      status,
      isReady: status === 'ready' || status === 'degraded',
      postgres: health?.postgres ?? 'unknown',
      redis: health?.redis ?? 'unknown',
      missingMigrations: this.#missing,
    };
  }

  #status(health: StoreHealth | undefined): ReadinessReport['status'] {
    if (this.#phase !== 'serving') return this.#phase;
    if (health?.isCutOff) return 'cut_off';
    return health?.postgres === 'ok' && health.redis === 'ok' ? 'ready' : 'degraded';
  }
}
