import { setTimeout as delay } from 'node:timers/promises';
import type { LiveEvent } from '@streamspace/protocol';
import type { EventFeed, FeedListener } from './event-feed.ts';

/** Events only wake; this is how often it looks when none comes. */
const LOOK_EVERY_MS = 1000;

export interface CommandWait {
  readonly commandId: string;
  readonly hasEnded: () => Promise<boolean>;
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
}

/**
 * Waits for commands to end, on whichever replica that happens. The live events say when to look and
 * the database says what is true, so it works, a second later at the most, without Redis.
 */
export class CommandWaiter {
  readonly #feed: EventFeed;
  readonly #waiting = new Map<string, Set<AbortController>>();
  readonly #stopped = new AbortController();
  #waits = 0;
  readonly #listener: FeedListener = {
    onJoined: () => undefined,
    onReset: () => {
      for (const commandId of this.#waiting.keys()) this.#wake(commandId);
    },
    onEntry: (_generation, entry) => {
      if (entry.kind === 'gap') return;
      for (const { commandId } of entry.events) if (commandId !== undefined) this.#wake(commandId);
    },
  };

  constructor(feed: EventFeed) {
    this.#feed = feed;
  }

  /** What this replica publishes need not go through Redis to wake it. */
  onPublished(events: readonly LiveEvent[]): void {
    if (this.#waiting.size === 0) return;
    for (const event of events) if (event.type === 'command') this.#wake(event.command.id);
  }

  /** Resolves when it has ended, at the time-out, when the caller is gone or this replica ends. */
  async wait(wait: CommandWait): Promise<void> {
    if (this.#waits === 0) this.#feed.join(this.#listener);
    this.#waits += 1;
    try {
      await this.#lookUntilOver(wait);
    } finally {
      this.#waits -= 1;
      if (this.#waits === 0) this.#feed.leave(this.#listener);
    }
  }

  stop(): void {
    this.#stopped.abort();
  }

  async #lookUntilOver({ commandId, hasEnded, timeoutMs, signal }: CommandWait): Promise<void> {
    const endsAt = performance.now() + timeoutMs;
    const over = AbortSignal.any([signal, this.#stopped.signal]);
    while (!over.aborted) {
      // Before the look, so that what ends between look and sleep wakes it.
      const wake = this.#expect(commandId);
      try {
        if (await hasEnded()) return;
        const leftMs = endsAt - performance.now();
        if (leftMs <= 0) return;
        const awake = AbortSignal.any([wake.signal, over]);
        await delay(Math.min(LOOK_EVERY_MS, leftMs), undefined, { signal: awake }).catch(
          () => undefined,
        );
      } finally {
        this.#forget(commandId, wake);
      }
    }
  }

  #expect(commandId: string): AbortController {
    const wake = new AbortController();
    const others = this.#waiting.get(commandId);
    if (others) others.add(wake);
    else this.#waiting.set(commandId, new Set([wake]));
    return wake;
  }

  #forget(commandId: string, wake: AbortController): void {
    const waiting = this.#waiting.get(commandId);
    waiting?.delete(wake);
    if (waiting?.size === 0) this.#waiting.delete(commandId);
  }

  #wake(commandId: string): void {
    for (const wake of this.#waiting.get(commandId) ?? []) wake.abort();
  }
}
