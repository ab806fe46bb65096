import { describe, expect, test } from '@jest/globals';
import { pino } from 'pino';
import { systemClock } from './clock.ts';
import { OrphanRemover } from './orphan-remover.ts';

const MINUTE_MS = 60_000;

class Bench {
  now = 0;
  readonly removed: string[] = [];
  readonly busy = new Set<string>();
  readonly remover = new OrphanRemover({
    clock: { ...systemClock, now: () => this.now },
    logger: pino({ enabled: false }),
    isBusy: (sessionId) => this.busy.has(sessionId),
    remove: (sessionId) => this.removed.push(sessionId),
  });

  /** One inventory, what is named after it, and three minutes. */
  round(sessionIds: readonly string[], orphans?: readonly string[], complete = true): void {
    const sessions = sessionIds.map((sessionId) => ({
      sessionId,
      generation: 1,
      state: 'running' as const,
    }));
    this.remover.noteInventory({ complete, sessions });
    if (orphans) this.remover.noteOrphans(orphans);
    this.now += 3 * MINUTE_MS;
  }
}

describe('an orphan', () => {
  test('is removed when two complete inventories in a row named it and it is 5 minutes old', () => {
    const bench = new Bench();
    bench.round(['a', 'b'], ['a']);
    bench.round(['a', 'b'], ['a']);
    expect(bench.removed).toEqual([]);
    bench.round(['a', 'b'], ['a']);
    expect(bench.removed).toEqual(['a']);
  });

  test('is left alone when an inventory between was not answered, or was incomplete', () => {
    const bench = new Bench();
    bench.round(['a'], ['a']);
    bench.round(['a']);
    bench.round(['a'], ['a']);
    bench.round(['a'], ['a'], false);
    bench.round(['a'], ['a']);
    expect(bench.removed).toEqual([]);
  });

  test('is left alone while a command is about it, and when it is not there', () => {
    const bench = new Bench();
    bench.busy.add('a');
    for (let count = 0; count < 4; count += 1) bench.round(['a'], ['a', 'gone']);
    expect(bench.removed).toEqual([]);
  });

  test('waits for its turn when there are many: five, or a tenth, a round', () => {
    for (const [count, most] of [
      [20, 5],
      [200, 20],
    ] as const) {
      const bench = new Bench();
      const all = Array.from({ length: count }, (_, index) => `s${index}`);
      for (let round = 0; round < 3; round += 1) bench.round(all, all);
      expect(bench.removed).toHaveLength(most);
    }
  });
});
