import { MAX_BATCH_BYTES, MAX_BATCH_ENTRIES } from '@streamspace/protocol';
import type { Clock } from '../clock.ts';

/** What was not confirmed in this time is sent again. */
export const RESEND_MS = 10_000;

/** Sends one frame and calls back with its ack. */
export type EmitBatch<Entry> = (
  entries: readonly Entry[],
  onAck: (answer: unknown) => void,
) => void;

export interface OutboxOptions<Entry> {
  readonly clock: Clock;
  readonly keyOf: (entry: Entry) => string;
  /** The keys of what the answer to this batch confirms. */
  readonly confirmedBy: (answer: unknown, batch: readonly Entry[]) => readonly string[];
  readonly onConfirmed?: (keys: readonly string[]) => void;
}

/**
 * Keeps entries, the latest for each key, until the control plane has confirmed them. One batch at a
 * time is under way, on one connection; what comes meanwhile is the next batch.
 */
export class Outbox<Entry> {
  readonly #options: OutboxOptions<Entry>;
  readonly #entries = new Map<string, Entry>();
  #emit: EmitBatch<Entry> | undefined;
  #flight: object | undefined;
  #callOff: (() => void) | undefined;
  #isScheduled = false;
  #onEmpty: (() => void) | undefined;

  constructor(options: OutboxOptions<Entry>) {
    this.#options = options;
  }

  get size(): number {
    return this.#entries.size;
  }

  put(entries: readonly Entry[]): void {
    for (const entry of entries) {
      const key = this.#options.keyOf(entry);
      this.#entries.delete(key);
      this.#entries.set(key, entry);
    }
    this.#schedule();
  }

  drop(key: string): void {
    this.#entries.delete(key);
  }

  get(key: string): Entry | undefined {
    return this.#entries.get(key);
  }

  /** Resolves when all is confirmed. */
  empty(): Promise<void> {
    return new Promise((resolve) => {
      if (this.#entries.size === 0) resolve();
      else this.#onEmpty = resolve;
    });
  }

  /** From now on goes through `emit`, all that is not confirmed yet included; `undefined`: nowhere. */
  attach(emit: EmitBatch<Entry> | undefined): void {
    this.#land();
    this.#emit = emit;
    this.#schedule();
  }

  /** A turn of the event loop later, so that what ends together travels together. */
  #schedule(): void {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    setImmediate(() => {
      this.#isScheduled = false;
      this.#send();
    });
  }

  #send(): void {
    if (this.#emit === undefined || this.#flight !== undefined || this.#entries.size === 0) return;
    const batch = takeBatch(this.#entries.values());
    const flight = {};
    this.#flight = flight;
    this.#callOff = this.#options.clock.after(RESEND_MS, () => {
      this.#land();
      this.#send();
    });
    this.#emit(batch, (answer) => {
      if (this.#flight === flight) this.#settle(batch, answer);
    });
  }

  #settle(batch: readonly Entry[], answer: unknown): void {
    const { keyOf, confirmedBy, onConfirmed } = this.#options;
    const known = new Map(batch.map((entry) => [keyOf(entry), entry]));
    const confirmed = confirmedBy(answer, batch).filter((key) => known.has(key));
    // Nothing was stored: the flight's timer goes on and sends it again.
    if (confirmed.length === 0) return;
    for (const [key, entry] of known) {
      // Only what was sent: something newer may have taken its place.
      if (this.#entries.get(key) !== entry) continue;
      this.#entries.delete(key);
      // To the end of the line: what is never confirmed must not hold up the others.
      if (!confirmed.includes(key)) this.#entries.set(key, entry);
    }
    onConfirmed?.(confirmed);
    if (this.#entries.size === 0) this.#onEmpty?.();
    this.#land();
    this.#send();
  }

  #land(): void {
    this.#callOff?.();
    this.#callOff = undefined;
    this.#flight = undefined;
  }
}

function takeBatch<Entry>(entries: Iterable<Entry>): Entry[] {
  const batch: Entry[] = [];
  let sizeBytes = 0;
  for (const entry of entries) {
    sizeBytes += Buffer.byteLength(JSON.stringify(entry)) + 1;
    if (batch.length === MAX_BATCH_ENTRIES) break;
    // The frame's own JSON around the entries takes a few bytes, too.
    if (batch.length > 0 && sizeBytes > MAX_BATCH_BYTES - 1024) break;
    batch.push(entry);
  }
  return batch;
}
