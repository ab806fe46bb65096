import type { InventoryAnswer } from '@streamspace/protocol';
import type { Logger } from 'pino';
import type { Clock } from './clock.ts';

/** How long this process must have seen a session before it may take it for an orphan. */
const MIN_AGE_MS = 5 * 60_000;
const MAX_PER_ROUND = 5;
const MAX_SHARE_PER_ROUND = 0.1;

export interface OrphanRemoverOptions {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly isBusy: (sessionId: string) => boolean;
  readonly remove: (sessionId: string, generation: number) => void;
}

/**
 * Removes sessions that the control plane does not know, and is slow about it: a control plane that was
 * restored from yesterday's backup knows nothing of today's. Two complete inventories in a row must
 * have been answered with the same orphan, it must be old enough, and only so many go in one round.
 */
export class OrphanRemover {
  readonly #options: OrphanRemoverOptions;
  readonly #firstSeen = new Map<string, number>();
  #inventory: InventoryAnswer['sessions'] = [];
  #round = 0;
  #named: { round: number; sessionIds: ReadonlySet<string> } | undefined;

  constructor(options: OrphanRemoverOptions) {
    this.#options = options;
  }

  /** Each answer to an `inventory`. */
  noteInventory({ complete, sessions }: InventoryAnswer): void {
    if (!complete || sessions.length === 0) {
      this.#named = undefined;
      this.#inventory = [];
      return;
    }
    this.#round += 1;
    this.#inventory = sessions;
    const now = this.#options.clock.now();
    const present = new Set(sessions.map(({ sessionId }) => sessionId));
    for (const sessionId of this.#firstSeen.keys()) {
      if (!present.has(sessionId)) this.#firstSeen.delete(sessionId);
    }
    for (const sessionId of present) {
      if (!this.#firstSeen.has(sessionId)) this.#firstSeen.set(sessionId, now);
    }
  }

  /** What the control plane named after the latest inventory. */
  noteOrphans(sessionIds: readonly string[]): void {
    const before = this.#named;
    if (this.#inventory.length === 0 || before?.round === this.#round) return;
    this.#named = { round: this.#round, sessionIds: new Set(sessionIds) };
    if (before?.round !== this.#round - 1) return;
    const orphans = this.#inventory.filter(
      ({ sessionId }) =>
        this.#named?.sessionIds.has(sessionId) === true &&
        before.sessionIds.has(sessionId) &&
        this.#isOld(sessionId) &&
        !this.#options.isBusy(sessionId),
    );
    const most = Math.max(MAX_PER_ROUND, Math.floor(this.#inventory.length * MAX_SHARE_PER_ROUND));
    for (const { sessionId, generation } of orphans.slice(0, most)) {
      this.#options.logger.warn({ sessionId, generation }, 'removing a session nobody knows');
      this.#options.remove(sessionId, generation);
    }
    if (orphans.length > most) {
      this.#options.logger.warn(
        { left: orphans.length - most },
        'more orphans than one round takes',
      );
    }
  }

  #isOld(sessionId: string): boolean {
    const { clock } = this.#options;
    return clock.now() - (this.#firstSeen.get(sessionId) ?? clock.now()) >= MIN_AGE_MS;
  }
}
