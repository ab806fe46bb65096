import {
  isPortFree,
  killSessionProcesses,
  localAgentDirectory,
  type LocalStack,
  type ProcessEvent,
  startLocalStack,
  StateDirectory,
} from '@streamspace/local-stack';
import { DevFile } from './dev-file.ts';
import type { LocalOptions } from './options.ts';
import { describeEvent, describeStack, type Print } from './terminal.ts';

export interface LocalSystemOptions extends LocalOptions {
  readonly stateDir: string;
  readonly env: NodeJS.ProcessEnv;
  readonly print: Print;
}

/** A sentence for the person at the terminal: no stack is shown. */
export class StartRefusedError extends Error {
  override readonly name = 'StartRefusedError';
}

/** The system that `npm start` runs, from the claim on its state directory to the end of its last process. */
export class LocalSystem {
  readonly #options: LocalSystemOptions;
  readonly #state: StateDirectory;
  readonly #devFile: DevFile;
  readonly #stopping = new AbortController();
  #stack: LocalStack | undefined;
  #starting: Promise<void> = Promise.resolve();

  /** Throws `AlreadyRunningError` when another one has the directory. */
  constructor(options: LocalSystemOptions) {
    this.#options = options;
    this.#state = StateDirectory.claim(options.stateDir);
    this.#devFile = new DevFile(options.stateDir);
  }

  async start(): Promise<void> {
    this.#starting = this.#start();
    try {
      await this.#starting;
    } catch (error) {
      if (!this.#stopping.signal.aborted) this.#release();
      throw error;
    }
  }

  /** Waits for a start that is under way to give up, then ends everything in reverse order. */
  async stop(): Promise<void> {
    this.#stopping.abort(new StartRefusedError('stopped while starting'));
    await this.#starting.catch(() => undefined);
    await this.#stack?.stop();
    this.#release();
  }

  /** Kills every process, without waiting. */
  kill(): void {
    this.#state.processes.killAllNow();
    killSessionProcesses(localAgentDirectory(this.#state));
    this.#release();
  }

  async #start(): Promise<void> {
    const { env, port, print, replicas, hasAgent, stateDir } = this.#options;
    await this.#clearRemains();
    if (!(await isPortFree(port)))
      throw new StartRefusedError(
        `port ${port} is taken by another program; choose one: npm start -- --port ${port + 1000}`,
      );
    print('Starting:');
    this.#stack = await startLocalStack({
      state: this.#state,
      replicas,
      port,
      hasAgent,
      databaseUrl: env['DATABASE_URL'] || undefined,
      redisUrl: env['REDIS_URL'] || undefined,
      env,
      signal: this.#stopping.signal,
      onEvent: (event) => this.#report(event),
    });
    this.#devFile.write(this.#stack);
    print(describeStack(this.#stack, stateDir));
  }

  async #clearRemains(): Promise<void> {
    const { print, isFresh, env } = this.#options;
    const leftovers = await this.#state.endLeftovers();
    if (leftovers.length > 0)
      print(
        `The last run was killed; ended what it left: ${leftovers.map(({ name }) => name).join(', ')}`,
      );
    this.#devFile.remove();
    if (!isFresh) return;
    killSessionProcesses(localAgentDirectory(this.#state));
    this.#state.empty();
    print(
      env['DATABASE_URL']
        ? '--fresh: tokens, keys and logs are deleted. The database of DATABASE_URL is yours and stays as it is.'
        : '--fresh: everything is deleted, the database too.',
    );
  }

  #report(event: ProcessEvent): void {
    const line = describeEvent(event);
    if (line !== '') this.#options.print(line);
    if (event.kind === 'ready' && this.#stack && !this.#stopping.signal.aborted)
      this.#devFile.write(this.#stack);
  }

  #release(): void {
    this.#devFile.remove();
    this.#state.release();
  }
}
