import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdirSync, openSync, readFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { ProcessRegistry } from './process-registry.ts';
import { waitUntil } from './wait-until.ts';

export interface ProcessExit {
  readonly pid: number;
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  /** Somebody asked for it through this handle: `stop()`, `kill()` or `restart()`. */
  readonly expected: boolean;
}

export type ProcessEvent =
  | { readonly kind: 'spawned'; readonly name: string; readonly pid: number }
  | { readonly kind: 'ready'; readonly name: string; readonly pid: number; readonly ms: number }
  | { readonly kind: 'exited'; readonly name: string; readonly exit: ProcessExit }
  | { readonly kind: 'restarting'; readonly name: string; readonly delayMs: number }
  | { readonly kind: 'start-failed'; readonly name: string; readonly error: unknown };

export interface ProcessSpec {
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
  /** The whole environment of the process; this process's own when left out. */
  readonly env?: NodeJS.ProcessEnv | undefined;
  readonly user?: { readonly uid: number; readonly gid: number } | undefined;
  /** Gets stdout and stderr, appended; nothing is kept without it. */
  readonly logFile?: string | undefined;
  /** Runs before every start, a restart too. */
  readonly beforeStart?: () => Promise<void>;
  /** Polled until true; a throw counts as not ready yet. */
  readonly isReady: () => Promise<boolean> | boolean;
  readonly readyTimeoutMs?: number | undefined;
  readonly stopSignal?: NodeJS.Signals;
  readonly stopGraceMs?: number | undefined;
  readonly restartOnExit?: boolean | undefined;
  readonly registry?: ProcessRegistry | undefined;
  /** Gives up a start that is under way. It does not stop a process that is up. */
  readonly signal?: AbortSignal | undefined;
  readonly onEvent?: ((event: ProcessEvent) => void) | undefined;
}

const READY_TIMEOUT_MS = 20_000;
const STOP_GRACE_MS = 10_000;
const FIRST_BACKOFF_MS = 100;
const LONGEST_BACKOFF_MS = 5_000;
// A process that stayed up this long has proven itself: its next death starts from the first backoff again.
const STABLE_AFTER_MS = 30_000;
const LOG_TAIL_CHARACTERS = 2_000;

function logTail(logFile: string | undefined): string {
  if (logFile === undefined) return '';
  try {
    return `\n${readFileSync(logFile, 'utf8').slice(-LOG_TAIL_CHARACTERS)}`;
  } catch {
    return '';
  }
}

/**
 * One process that is kept running. It is started in a group of its own, so a Ctrl-C in the terminal reaches only the
 * supervisor, which then ends its children in order.
 */
export class SupervisedProcess implements AsyncDisposable {
  readonly exits: ProcessExit[] = [];
  readonly #spec: ProcessSpec;
  #child: ChildProcess | undefined;
  #exited: Promise<void> = Promise.resolve();
  #isStopping = true;
  #wasSignalled = false;
  #isReady = false;
  #spawnedAt = 0;
  #quickExits = 0;
  #lifetime = new AbortController();
  #starting: Promise<void> | undefined;

  constructor(spec: ProcessSpec) {
    this.#spec = spec;
  }

  get name(): string {
    return this.#spec.name;
  }

  /** `undefined` while it is down. */
  get pid(): number | undefined {
    return this.#child?.pid;
  }

  get isReady(): boolean {
    return this.#isReady;
  }

  /** Starts and waits until it is ready; does nothing when it runs. */
  async start(): Promise<void> {
    this.#starting ??= this.#start().finally(() => {
      this.#starting = undefined;
    });
    await this.#starting;
  }

  /** Sends a signal. One that ends the process is followed by a restart only when `restartOnExit` is set. */
  kill(signal: NodeJS.Signals): void {
    if (signal !== 'SIGSTOP' && signal !== 'SIGCONT') this.#wasSignalled = true;
    this.#child?.kill(signal);
  }

  /** Resolves when the process that runs now has ended. */
  async waitForExit(): Promise<void> {
    await this.#exited;
  }

  async restart(): Promise<void> {
    await this.stop();
    await this.start();
  }

  /** Asks it to end, kills it after the grace, and leaves it down. */
  async stop({ graceMs = this.#spec.stopGraceMs ?? STOP_GRACE_MS } = {}): Promise<void> {
    this.#lifetime.abort(new Error(`${this.name} is being stopped`));
    this.#isStopping = true;
    const child = this.#child;
    if (child) {
      child.kill('SIGCONT');
      child.kill(graceMs > 0 ? (this.#spec.stopSignal ?? 'SIGTERM') : 'SIGKILL');
      const timer = setTimeout(() => child.kill('SIGKILL'), graceMs);
      await this.#exited;
      clearTimeout(timer);
    }
    await this.#starting?.catch(() => undefined);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  async #start(): Promise<void> {
    if (this.#child) return;
    this.#lifetime = new AbortController();
    this.#isStopping = false;
    const { signal } = this.#spec;
    const lifetime = this.#lifetime.signal;
    await this.#spawnAndWait(signal ? AbortSignal.any([lifetime, signal]) : lifetime);
  }

  async #spawnAndWait(lifetime: AbortSignal): Promise<void> {
    const { name, isReady, readyTimeoutMs, logFile, onEvent } = this.#spec;
    await this.#spec.beforeStart?.();
    lifetime.throwIfAborted();
    const child = this.#spawn();
    const startedAt = performance.now();
    const ready = async (): Promise<boolean> => this.#child !== child || (await isReady());
    try {
      await waitUntil(ready, {
        what: `${name} is ready`,
        timeoutMs: readyTimeoutMs ?? READY_TIMEOUT_MS,
        signal: lifetime,
      });
    } catch (error) {
      child.kill('SIGKILL');
      throw new Error(`${name} did not become ready${logTail(logFile)}`, { cause: error });
    }
    if (this.#child !== child || child.pid === undefined)
      throw new Error(`${name} ended before it was ready${logTail(logFile)}`);
    this.#isReady = true;
    onEvent?.({ kind: 'ready', name, pid: child.pid, ms: performance.now() - startedAt });
  }

  #spawn(): ChildProcess {
    const { name, command, args, env, user, registry, stopSignal, onEvent } = this.#spec;
    const log = this.#openLog();
    const child = spawn(command, args, {
      detached: true,
      stdio: ['ignore', log, log],
      ...(env ? { env } : {}),
      ...user,
    });
    if (typeof log === 'number') closeSync(log);
    this.#child = child;
    this.#spawnedAt = performance.now();
    this.#wasSignalled = false;
    this.#exited = this.#watch(child);
    if (child.pid !== undefined) {
      registry?.record(name, child.pid, stopSignal);
      onEvent?.({ kind: 'spawned', name, pid: child.pid });
    }
    return child;
  }

  #openLog(): number | 'ignore' {
    const { logFile } = this.#spec;
    if (logFile === undefined) return 'ignore';
    mkdirSync(dirname(logFile), { recursive: true });
    return openSync(logFile, 'a');
  }

  async #watch(child: ChildProcess): Promise<void> {
    try {
      await once(child, 'exit');
    } catch (error) {
      // `error` comes instead of `exit` when the command could not be run at all.
      this.#spec.onEvent?.({ kind: 'start-failed', name: this.name, error });
    }
    this.#child = undefined;
    this.#isReady = false;
    this.#recordExit(child);
    if (this.#spec.restartOnExit === true && !this.#isStopping && !this.#starting)
      this.#starting = this.#restartUntilUp().finally(() => {
        this.#starting = undefined;
      });
  }

  #recordExit(child: ChildProcess): void {
    if (child.pid === undefined) return;
    this.#spec.registry?.forget(child.pid);
    const exit: ProcessExit = {
      pid: child.pid,
      code: child.exitCode,
      signal: child.signalCode,
      expected: this.#isStopping || this.#wasSignalled,
    };
    this.exits.push(exit);
    this.#spec.onEvent?.({ kind: 'exited', name: this.name, exit });
  }

  async #restartUntilUp(): Promise<void> {
    const { name, onEvent } = this.#spec;
    const lifetime = this.#lifetime.signal;
    while (!lifetime.aborted) {
      const wasStable = performance.now() - this.#spawnedAt > STABLE_AFTER_MS;
      this.#quickExits = wasStable ? 0 : this.#quickExits + 1;
      const delayMs = Math.min(
        LONGEST_BACKOFF_MS,
        FIRST_BACKOFF_MS * 2 ** Math.max(0, this.#quickExits - 1),
      );
      onEvent?.({ kind: 'restarting', name, delayMs });
      try {
        await delay(delayMs, undefined, { signal: lifetime });
        await this.#spawnAndWait(lifetime);
        return;
      } catch (error) {
        if (!lifetime.aborted) onEvent?.({ kind: 'start-failed', name, error });
        await this.#exited;
      }
    }
  }
}

export async function startProcess(spec: ProcessSpec): Promise<SupervisedProcess> {
  const supervised = new SupervisedProcess(spec);
  try {
    await supervised.start();
  } catch (error) {
    await supervised.stop({ graceMs: 0 });
    throw error;
  }
  return supervised;
}
