import {
  resultsAckSchema,
  statusesAckSchema,
  type SessionStatus,
  type StartPayload,
} from '@streamspace/protocol';
import type { Logger } from 'pino';
import type { AgentActions } from './actions.ts';
import { sleep, type Clock } from './clock.ts';
import { CommandRunner } from './execution/command-runner.ts';
import { Executor, type ExecutedResult } from './execution/executor.ts';
import type { Journal } from './journal/journal.ts';
import { fitCode, fitMessage } from './outcome.ts';
import type { Observation, Runtime } from './runtime.ts';
import type { Connection } from './wire/connection.ts';
import { Outbox } from './wire/outbox.ts';

/** How long a workload that ends waits for its last results to be confirmed; the journal keeps them anyway. */
const CONFIRM_WITHIN_MS = 500;

export interface WorkloadOptions {
  readonly journal: Journal;
  readonly runtime: Runtime;
  readonly clock: Clock;
  readonly random: () => number;
  readonly logger: Logger;
  readonly actions: AgentActions;
  readonly limitsMs: Readonly<Record<string, number>>;
  /** Rises with every call, over all workloads of the process. */
  readonly nextSequence: () => number;
}

/** All that is done for one control plane: its journal, the lanes, and what is still to be told. */
export class Workload {
  readonly journal: Journal;
  readonly executor: Executor;
  readonly #options: WorkloadOptions;
  readonly #results: Outbox<ExecutedResult>;
  readonly #statuses: Outbox<SessionStatus>;

  constructor(options: WorkloadOptions) {
    const { journal, clock, logger } = options;
    this.#options = options;
    this.journal = journal;
    this.#results = new Outbox<ExecutedResult>({
      clock,
      keyOf: ({ commandId }) => commandId,
      confirmedBy: (answer) => resultsAckSchema.safeParse(answer).data?.confirmed ?? [],
      onConfirmed: (commandIds) => {
        // Lost, it is confirmed once more after the next start.
        journal.confirm(commandIds).catch((err: unknown) => {
          logger.warn({ err }, 'confirmation could not be written to the journal');
        });
      },
    });
    this.#statuses = new Outbox<SessionStatus>({
      clock,
      keyOf: ({ sessionId }) => sessionId,
      confirmedBy: (answer, batch) =>
        statusesAckSchema.safeParse(answer).success ? batch.map(({ sessionId }) => sessionId) : [],
    });
    this.executor = new Executor({
      journal,
      clock,
      logger,
      runner: this.#createRunner(),
      onResults: (results) => this.#onResults(results),
    });
  }

  get unconfirmedResults(): number {
    return this.#results.size;
  }

  observe({ sessionId, generation, state, phase, code, message }: Observation): void {
    this.#statuses.put([
      {
        sessionId,
        generation,
        sequence: this.#options.nextSequence(),
        state,
        ...(phase !== undefined && { phase }),
        ...(code !== undefined && { code: fitCode(code) }),
        ...(message !== undefined && { message: fitMessage(message) }),
      },
    ]);
  }

  attach(connection: Connection): void {
    this.#results.attach((entries, onAck) => {
      const results = entries.map(({ commandId, attempt, outcome }) => ({
        commandId,
        attempt,
        outcome,
      }));
      connection.emit('results', { results }, onAck);
    });
    this.#statuses.attach((statuses, onAck) => {
      connection.emit('statuses', { statuses }, onAck);
    });
  }

  detach(): void {
    this.#results.attach(undefined);
    this.#statuses.attach(undefined);
  }

  /** Lets what runs come to an end, gives its results a moment to be confirmed, and closes the journal. */
  async close(settleMs: number, isConnected: boolean): Promise<void> {
    await this.executor.stop(settleMs);
    if (isConnected) {
      const confirmed = new AbortController();
      const brief = sleep(this.#options.clock, CONFIRM_WITHIN_MS, confirmed.signal);
      await Promise.race([this.#results.empty(), brief]);
      confirmed.abort();
    }
    this.detach();
    await this.journal.close();
  }

  #createRunner(): CommandRunner {
    const { journal } = this;
    return new CommandRunner({
      ...this.#options,
      findSpec: (sessionId): StartPayload | undefined => journal.session(sessionId)?.spec,
      report: ({ sessionId, generation }, progress) =>
        this.observe({ ...progress, sessionId, generation }),
    });
  }

  #onResults(results: readonly ExecutedResult[]): void {
    for (const { sessionId } of results) {
      // The result says more than how far its command had come.
      if (sessionId !== null && this.#statuses.get(sessionId)?.state === 'starting') {
        this.#statuses.drop(sessionId);
      }
    }
    this.#results.put(results);
  }
}
