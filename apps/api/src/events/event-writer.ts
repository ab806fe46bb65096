import { setImmediate as nextTurn } from 'node:timers/promises';
import type { LiveEvent } from '@streamspace/protocol';
import type { Redis } from 'ioredis';
import type { EventLog } from './event-log.ts';

export interface EventWriterOptions {
  /** Fails at once while Redis is away. */
  readonly redis: Redis;
  readonly log: EventLog;
  readonly onLost: (count: number) => void;
}

const MAX_PENDING = 5000;
/** Entries stay small enough to be read while others wait. */
const MAX_PER_ENTRY = 100;
const RETRY_MS = 1000;

/**
 * Adds events to the log, those of one turn of the event loop together. What Redis did not take is
 * dropped, and once it is back the log first gets a mark that says so.
 */
export class EventWriter {
  readonly #options: EventWriterOptions;
  #pending: LiveEvent[] = [];
  #hasGap = false;
  #flushing: Promise<void> | undefined;
  #retry: NodeJS.Timeout | undefined;
  #isStopped = false;

  constructor(options: EventWriterOptions) {
    this.#options = options;
  }

  /** Never throws and never waits. */
  add(events: readonly LiveEvent[]): void {
    if (events.length === 0) return;
    if (this.#pending.length + events.length > MAX_PENDING) {
      this.#lose(events.length);
      return;
    }
    this.#pending.push(...events);
    this.#schedule();
  }

  /** Events are known to be missing: a replica died between its commit and its publish. */
  markGap(): void {
    this.#hasGap = true;
    this.#schedule();
  }

  /** Tries once more to write what is left. */
  async stop(): Promise<void> {
    clearTimeout(this.#retry);
    this.#retry = undefined;
    this.#isStopped = true;
    await this.#flushing;
    await this.#flush();
  }

  #schedule(): void {
    if (this.#retry !== undefined || this.#isStopped) return;
    this.#flushing ??= nextTurn()
      .then(() => this.#flush())
      .finally(() => {
        this.#flushing = undefined;
      });
  }

  async #flush(): Promise<void> {
    const { redis, log } = this.#options;
    let batch: LiveEvent[] = [];
    try {
      while (this.#hasGap || this.#pending.length > 0) {
        if (this.#hasGap) {
          await log.addGap(redis);
          this.#hasGap = false;
        }
        batch = this.#pending.splice(0, MAX_PER_ENTRY);
        if (batch.length > 0) await log.add(redis, batch);
        batch = [];
      }
    } catch {
      // Whether it was added is not known: after the mark nobody needs to.
      this.#lose(batch.length + this.#pending.length);
      this.#pending = [];
      this.#retryLater();
    }
  }

  #lose(count: number): void {
    this.#hasGap = true;
    if (count > 0) this.#options.onLost(count);
  }

  #retryLater(): void {
    if (this.#isStopped) return;
    this.#retry = setTimeout(() => {
      this.#retry = undefined;
      this.#schedule();
    }, RETRY_MS);
    this.#retry.unref();
  }
}
