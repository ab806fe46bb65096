import { setTimeout as delay } from 'node:timers/promises';
import type { Redis } from 'ioredis';
import type { Logger } from 'pino';
import { isBeforeHistory, type EventLog, type LogEntry } from './event-log.ts';

/** Where the feed is in the log: everything up to `streamId` has been handed out. */
export interface FeedPosition {
  readonly generation: string;
  readonly streamId: string;
}

/** Calls come one after the other, and must not throw. */
export interface FeedListener {
  /** From here on it gets every entry; at once, or when Redis is back. */
  onJoined(position: FeedPosition): void;
  onEntry(generation: string, entry: LogEntry): void;
  /** Entries were missed: the stream is another one, or was faster than the feed. */
  onReset(position: FeedPosition): void;
}

export interface EventFeedOptions {
  readonly log: EventLog;
  /** A connection of the feed's own: it blocks. */
  readonly connect: () => Redis;
  readonly logger: Logger;
}

const BLOCK_MS = 5000;
const RETRY_MS = 500;
/** After the last listener: short waits one after the other do not open a connection each. */
const LINGER_MS = 10_000;

/** Reads the log while anybody listens, and hands every entry to each. */
export class EventFeed {
  readonly #options: EventFeedOptions;
  readonly #listeners = new Set<FeedListener>();
  #position: FeedPosition | undefined;
  #lingering: NodeJS.Timeout | undefined;
  #running: { readonly abort: AbortController; readonly done: Promise<void> } | undefined;

  constructor(options: EventFeedOptions) {
    this.#options = options;
  }

  get position(): FeedPosition | undefined {
    return this.#position;
  }

  join(listener: FeedListener): void {
    this.#listeners.add(listener);
    clearTimeout(this.#lingering);
    if (this.#position) listener.onJoined(this.#position);
    this.#running ??= this.#start();
  }

  leave(listener: FeedListener): void {
    this.#listeners.delete(listener);
    if (this.#listeners.size > 0) return;
    clearTimeout(this.#lingering);
    this.#lingering = setTimeout(() => void this.#stop(), LINGER_MS);
    this.#lingering.unref();
  }

  async stop(): Promise<void> {
    this.#listeners.clear();
    clearTimeout(this.#lingering);
    await this.#stop();
  }

  #start(): { abort: AbortController; done: Promise<void> } {
    const abort = new AbortController();
    return { abort, done: this.#run(abort.signal) };
  }

  async #stop(): Promise<void> {
    const running = this.#running;
    this.#running = undefined;
    this.#position = undefined;
    running?.abort.abort();
    await running?.done;
  }

  async #run(signal: AbortSignal): Promise<void> {
    const redis = this.#options.connect();
    // A read that blocks ends with its connection.
    signal.addEventListener('abort', () => redis.disconnect());
    while (!signal.aborted) {
      try {
        if (this.#position) await this.#readOn(redis, this.#position, signal);
        else await this.#attach(redis, signal);
      } catch (err) {
        if (signal.aborted) return;
        this.#options.logger.debug({ err }, 'live events cannot be read; trying again');
        await delay(RETRY_MS, undefined, { signal }).catch(() => undefined);
      }
    }
  }

  async #attach(redis: Redis, signal: AbortSignal): Promise<void> {
    const position = await this.#end(redis);
    if (signal.aborted) return;
    this.#position = position;
    for (const listener of this.#listeners) listener.onJoined(position);
  }

  async #readOn(redis: Redis, position: FeedPosition, signal: AbortSignal): Promise<void> {
    const { log } = this.#options;
    const { entries, mayHaveMore } = await log.waitForMore(redis, position.streamId, BLOCK_MS);
    // After the read: were the stream emptied before it, this would say so.
    const generation = await log.generation(redis);
    const hasLost =
      generation !== position.generation ||
      (mayHaveMore && isBeforeHistory(position.streamId, await log.end(redis)));
    if (hasLost) {
      const end = await this.#end(redis);
      if (signal.aborted) return;
      this.#position = end;
      for (const listener of this.#listeners) listener.onReset(end);
      return;
    }
    if (!signal.aborted) this.#handOut(generation, entries);
  }

  #handOut(generation: string, entries: readonly LogEntry[]): void {
    for (const entry of entries) {
      this.#position = { generation, streamId: entry.streamId };
      for (const listener of this.#listeners) listener.onEntry(generation, entry);
    }
  }

  async #end(redis: Redis): Promise<FeedPosition> {
    const { log } = this.#options;
    const generation = await log.generation(redis);
    return { generation, streamId: (await log.end(redis)).lastId };
  }
}
