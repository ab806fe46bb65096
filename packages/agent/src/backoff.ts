/** Full jitter (AWS, "Exponential Backoff And Jitter"): whoever fell together does not come back together. */
export const BACKOFF_BASE_MS = 1000;
export const BACKOFF_CAP_MS = 30_000;

/** `rand(0, min(30 s, 1 s * 2^attempt))`. */
export function fullJitterMs(attempt: number, random: () => number): number {
  return random() * Math.min(BACKOFF_CAP_MS, BACKOFF_BASE_MS * 2 ** attempt);
}

export class Backoff {
  readonly #random: () => number;
  #attempt = 0;

  constructor(random: () => number) {
    this.#random = random;
  }

  /** The next delay. What the server asked for is a floor with the jitter on top of it. */
  nextMs(retryAfterMs = 0): number {
    const delayMs = retryAfterMs + fullJitterMs(this.#attempt, this.#random);
    this.#attempt += 1;
    return delayMs;
  }

  reset(): void {
    this.#attempt = 0;
  }
}
