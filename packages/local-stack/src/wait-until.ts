import { setTimeout as delay } from 'node:timers/promises';

export interface WaitOptions {
  /** Ends the error's sentence: "gave up after 5000 ms waiting until <what>". */
  readonly what: string;
  readonly timeoutMs?: number;
  readonly intervalMs?: number;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Polls until the condition gives something other than `undefined`, `null` or `false`, and returns that. A condition
 * that throws counts as not met yet; its last error becomes the cause when time runs out.
 */
export async function waitUntil<T>(
  condition: () => Promise<T> | T,
  { what, timeoutMs = 10_000, intervalMs = 50, signal }: WaitOptions,
): Promise<NonNullable<T>> {
  const deadline = performance.now() + timeoutMs;
  let lastError: unknown;
  for (;;) {
    signal?.throwIfAborted();
    try {
      const value = await condition();
      if (value !== undefined && value !== null && value !== false) return value;
    } catch (error) {
      lastError = error;
    }
    if (performance.now() >= deadline)
      throw new Error(`gave up after ${timeoutMs} ms waiting until ${what}`, { cause: lastError });
    await delay(intervalMs, undefined, { signal });
  }
}
