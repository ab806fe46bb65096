/**
 * A token bucket for hellos: after a restart of everything, ten thousand agents come back within
 * seconds, and each costs a hash, a mint and a resume. Who finds no token is told when to come again.
 */
export class Admission {
  readonly #perSecond: number;
  readonly #nowMs: () => number;
  #tokens: number;
  #filledAtMs: number;

  constructor(perSecond: number, nowMs: () => number = () => performance.now()) {
    this.#perSecond = perSecond;
    this.#nowMs = nowMs;
    this.#tokens = perSecond;
    this.#filledAtMs = nowMs();
  }

  /** 0: come in. Else: milliseconds until a place is likely; who waits is counted, so waits spread. */
  admit(): number {
    const now = this.#nowMs();
    const refill = ((now - this.#filledAtMs) / 1000) * this.#perSecond;
    this.#tokens = Math.min(this.#perSecond, this.#tokens + refill);
    this.#filledAtMs = now;
    this.#tokens -= 1;
    if (this.#tokens >= 0) return 0;
    const waitMs = Math.ceil((-this.#tokens / this.#perSecond) * 1000);
    if (waitMs > MAX_WAIT_MS) this.#tokens += 1;
    return Math.min(waitMs, MAX_WAIT_MS);
  }
}

/** Beyond this the debt grows no further: agents that gave up must not hold the places of those that come. */
const MAX_WAIT_MS = 10_000;
