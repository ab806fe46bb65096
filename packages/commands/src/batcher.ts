interface Waiting<Item, Result> {
  readonly item: Item;
  readonly settle: (result: Result | undefined) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * One flush at a time; what arrives meanwhile is the next batch. Nothing waits when idle, batches grow
 * with the load, and there is no interval to tune.
 */
export class Batcher<Item, Result> {
  readonly #flush: (items: readonly Item[]) => Promise<readonly Result[]>;
  readonly #maxItems: number;
  readonly #waiting: Waiting<Item, Result>[] = [];
  #isFlushing = false;

  /** `flush` answers with one result an item, in their order. */
  constructor(
    flush: (items: readonly Item[]) => Promise<readonly Result[]>,
    { maxItems = 1000 }: { readonly maxItems?: number } = {},
  ) {
    this.#flush = flush;
    this.#maxItems = maxItems;
  }

  async add(item: Item): Promise<Result> {
    return new Promise((resolve, reject) => {
      const settle = (result: Result | undefined): void => {
        if (result === undefined) reject(new Error('the flush answered with too few results'));
        else resolve(result);
      };
      this.#waiting.push({ item, settle, reject });
      if (!this.#isFlushing) void this.#run();
    });
  }

  async #run(): Promise<void> {
    this.#isFlushing = true;
    // What other callers add within this turn of the event loop comes along.
    await Promise.resolve();
    while (this.#waiting.length > 0) {
      const batch = this.#waiting.splice(0, this.#maxItems);
      try {
        const results = await this.#flush(batch.map(({ item }) => item));
        for (const [index, { settle }] of batch.entries()) settle(results[index]);
      } catch (error) {
        for (const { reject } of batch) reject(error);
      }
    }
    this.#isFlushing = false;
  }
}
