import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { identifyProcess, isRunning, type ProcessIdentity } from './process-identity.ts';
import { waitUntil } from './wait-until.ts';

export interface RegisteredProcess extends ProcessIdentity {
  readonly name: string;
  readonly stopSignal: NodeJS.Signals;
}

function isRegisteredProcess(value: unknown): value is RegisteredProcess {
  return (
    typeof value === 'object' &&
    value !== null &&
    'pid' in value &&
    typeof value.pid === 'number' &&
    'startedAt' in value &&
    typeof value.startedAt === 'string' &&
    'name' in value &&
    'stopSignal' in value
  );
}

function signalIfOurs(process_: RegisteredProcess, signal: NodeJS.Signals): void {
  if (!isRunning(process_)) return;
  try {
    process.kill(process_.pid, signal);
  } catch {
    // It ended between the look and the signal.
  }
}

/**
 * A directory with one file per running child. It outlives its owner: whoever starts there next ends what a killed
 * owner left behind, and nothing else, because a process must match pid and start time.
 */
export class ProcessRegistry {
  readonly #directory: string;

  constructor(directory: string) {
    this.#directory = directory;
  }

  record(name: string, pid: number, stopSignal: NodeJS.Signals = 'SIGTERM'): void {
    const identity = identifyProcess(pid);
    if (!identity) return;
    mkdirSync(this.#directory, { recursive: true });
    const entry: RegisteredProcess = { ...identity, name, stopSignal };
    writeFileSync(this.#file(pid), JSON.stringify(entry));
  }

  forget(pid: number): void {
    rmSync(this.#file(pid), { force: true });
  }

  /** Only what still runs. */
  list(): RegisteredProcess[] {
    return this.#entries().filter((entry) => isRunning(entry));
  }

  /** Ends every recorded process that still runs, with SIGKILL after the grace. Returns what it had to end. */
  async endLeftovers(graceMs = 5_000): Promise<RegisteredProcess[]> {
    const leftovers = this.list();
    for (const leftover of leftovers) signalIfOurs(leftover, leftover.stopSignal);
    const allGone = (): boolean => !leftovers.some((leftover) => isRunning(leftover));
    try {
      await waitUntil(allGone, { what: 'leftover processes end', timeoutMs: graceMs });
    } catch {
      for (const leftover of leftovers) signalIfOurs(leftover, 'SIGKILL');
      await waitUntil(allGone, { what: 'killed leftover processes are gone' });
    }
    for (const { pid } of this.#entries()) this.forget(pid);
    return leftovers;
  }

  /** For exit handlers, where nothing can be awaited. */
  killAllNow(): void {
    for (const entry of this.list()) signalIfOurs(entry, 'SIGKILL');
  }

  #entries(): RegisteredProcess[] {
    let files: string[];
    try {
      files = readdirSync(this.#directory);
    } catch {
      return [];
    }
    return files.flatMap((file) => {
      try {
        const entry: unknown = JSON.parse(readFileSync(join(this.#directory, file), 'utf8'));
        return isRegisteredProcess(entry) ? [entry] : [];
      } catch {
        return [];
      }
    });
  }

  #file(pid: number): string {
    return join(this.#directory, `${pid}.json`);
  }
}
