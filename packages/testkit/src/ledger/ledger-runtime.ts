import { setTimeout as delay } from 'node:timers/promises';
import {
  CommandAborted,
  CommandError,
  type OperationContext,
  type Runtime,
  type SessionRef,
  type SessionToStart,
  type Started,
} from '@streamspace/agent';
import type { InventoryAnswer } from '@streamspace/protocol';
import {
  applyEffect,
  type LedgerAction,
  type LedgerSession,
  LedgerWriter,
  readLedger,
  sessionsOf,
} from './ledger.ts';

export interface LedgerRuntimeOptions {
  readonly path: string;
  /** How long a start takes, unless its session says otherwise. */
  readonly startDelayMs: number;
  /** The agent's, at this moment. */
  readonly epoch: () => number;
}

/**
 * What a session asks of the agent, in its environment, for tests:
 * `LEDGER_START_DELAY_MS` how long its start takes, `LEDGER_FAIL` the code it fails with, `LEDGER_CRASH=1` its start
 * kills the agent's process.
 */
export const ledgerVariables = {
  startDelayMs: 'LEDGER_START_DELAY_MS',
  fail: 'LEDGER_FAIL',
  crash: 'LEDGER_CRASH',
} as const;

/** Runs nothing, and writes down what it was asked and what it did. Its sessions outlive its process. */
export class LedgerRuntime implements Runtime {
  readonly #options: LedgerRuntimeOptions;
  readonly #writer: LedgerWriter;
  readonly #sessions: Map<string, LedgerSession>;

  constructor(options: LedgerRuntimeOptions) {
    this.#options = options;
    this.#writer = new LedgerWriter(options.path);
    this.#sessions = sessionsOf(readLedger(options.path));
  }

  async start(session: SessionToStart, { signal }: OperationContext): Promise<Started> {
    const { env } = session.spec;
    await this.#record(
      'start',
      session,
      async () => {
        if (this.#sessions.get(session.sessionId)?.generation === session.generation) return;
        if (env[ledgerVariables.crash] === '1') process.kill(process.pid, 'SIGKILL');
        const delayMs = env[ledgerVariables.startDelayMs] ?? this.#options.startDelayMs;
        await delay(Number(delayMs), undefined, { signal });
        const code = env[ledgerVariables.fail];
        if (code !== undefined) throw new CommandError(code, 'The session asked to fail.');
        this.#effect('start', session);
      },
      signal,
    );
    return { endpoint: { host: '127.0.0.1', port: 1 } };
  }

  async stop(session: SessionRef): Promise<void> {
    await this.#record('stop', session, () => {
      if (this.#sessions.has(session.sessionId)) this.#effect('stop', session);
    });
  }

  async hibernate(session: SessionRef): Promise<void> {
    await this.#record('hibernate', session, () => {
      if (this.#sessions.get(session.sessionId)?.state === 'running')
        this.#effect('hibernate', session);
    });
  }

  async wake(session: SessionRef): Promise<Started> {
    await this.#record('wake', session, () => {
      const found = this.#sessions.get(session.sessionId);
      if (found?.state === 'running' && found.generation === session.generation) return;
      this.#effect('wake', session);
    });
    return { endpoint: { host: '127.0.0.1', port: 1 } };
  }

  inventory(): Promise<InventoryAnswer> {
    return Promise.resolve({ complete: true, sessions: [...this.#sessions.values()] });
  }

  close(): Promise<void> {
    this.#writer.close();
    return Promise.resolve();
  }

  noteLink(state: string): void {
    this.#writer.append({ kind: 'link', state, epoch: this.#options.epoch(), at: Date.now() });
  }

  noteWelcome(epoch: number): void {
    this.#writer.append({ kind: 'welcome', epoch, at: Date.now(), pid: process.pid });
  }

  noteFrame({ epoch, commandIds }: { epoch: number; commandIds: readonly string[] }): void {
    const at = Date.now();
    this.#writer.append({
      kind: 'frame',
      epoch,
      commandIds: [...commandIds],
      at,
      pid: process.pid,
    });
  }

  #effect(action: LedgerAction, session: SessionRef): void {
    this.#writer.append({ kind: 'effect', ...this.#operation(action, session) });
    applyEffect(this.#sessions, { action, ...session });
  }

  async #record(
    action: LedgerAction,
    session: SessionRef,
    work: () => Promise<void> | void,
    signal?: AbortSignal,
  ): Promise<void> {
    this.#writer.append({ kind: 'begin', ...this.#operation(action, session) });
    try {
      await work();
    } catch (error) {
      const aborted: unknown = signal?.reason;
      const isAborted = aborted instanceof CommandAborted;
      this.#writer.append({
        kind: 'end',
        ...this.#operation(action, session),
        outcome: isAborted ? 'aborted' : 'failed',
        reason: isAborted ? aborted.reason : String(error),
      });
      throw isAborted ? aborted : error;
    }
    this.#writer.append({ kind: 'end', ...this.#operation(action, session), outcome: 'done' });
  }

  #operation(
    action: LedgerAction,
    { sessionId, generation, commandId }: SessionRef,
  ): SessionRef & { action: LedgerAction; epoch: number; at: number; pid: number } {
    const epoch = this.#options.epoch();
    return { action, sessionId, generation, commandId, epoch, at: Date.now(), pid: process.pid };
  }
}
