import { setTimeout as delay } from 'node:timers/promises';

export interface PeriodicOptions {
  readonly everyMs: number;
  readonly run: () => Promise<void>;
  readonly onError: (error: unknown) => void;
}

export interface Periodic {
  /** Runs as soon as the run in progress, if any, is over. */
  trigger(): void;
  /** Resolves when the run in progress, if any, is over. */
  stop(): Promise<void>;
}

/** Runs again and again, never twice at once, `everyMs` after the end of the run before. */
export function startPeriodic({ everyMs, run, onError }: PeriodicOptions): Periodic {
  const stopped = new AbortController();
  let wake = new AbortController();
  const loop = async (): Promise<void> => {
    while (!stopped.signal.aborted) {
      wake = new AbortController();
      await run().catch(onError);
      if (stopped.signal.aborted) return;
      const signal = AbortSignal.any([wake.signal, stopped.signal]);
      await delay(everyMs, undefined, { signal, ref: false }).catch(() => undefined);
    }
  };
  const done = loop();
  return {
    trigger: () => wake.abort(),
    async stop() {
      stopped.abort();
      await done;
    },
  };
}
