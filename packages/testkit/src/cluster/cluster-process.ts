import { readFile } from 'node:fs/promises';
import type { ProcessExit, SupervisedProcess } from '@streamspace/local-stack';

/** One process of a cluster and what can be done to it. */
export class ClusterProcess {
  readonly name: string;
  readonly #process: SupervisedProcess;
  readonly #logFile: string;

  constructor(process: SupervisedProcess, logFile: string) {
    this.name = process.name;
    this.#process = process;
    this.#logFile = logFile;
  }

  /** `undefined` while it is down. */
  get pid(): number | undefined {
    return this.#process.pid;
  }

  get exits(): readonly ProcessExit[] {
    return this.#process.exits;
  }

  /** Resolves when it is ready. */
  async start(): Promise<void> {
    await this.#process.start();
  }

  /** Ends it by a signal, SIGKILL when left out, and resolves when it has ended. */
  async kill(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    this.#process.kill(signal);
    await this.#process.waitForExit();
  }

  /** Sends a signal and waits for nothing. */
  signal(signal: NodeJS.Signals): void {
    this.#process.kill(signal);
  }

  /** SIGSTOP: it keeps its sockets and does nothing, until `thaw`. */
  freeze(): void {
    this.#process.kill('SIGSTOP');
  }

  thaw(): void {
    this.#process.kill('SIGCONT');
  }

  /** Gracefully: SIGTERM, and SIGKILL only after the grace. */
  async stop(graceMs?: number): Promise<void> {
    await this.#process.stop(graceMs === undefined ? {} : { graceMs });
  }

  async restart(): Promise<void> {
    await this.#process.restart();
  }

  /** All it has printed, over all its lives. */
  async log(): Promise<string> {
    return readFile(this.#logFile, 'utf8').catch(() => '');
  }
}
