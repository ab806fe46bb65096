import {
  finishedSchema,
  isDataException,
  queryRows,
  SqlState,
  sqlStateOf,
  type Finished,
} from '@streamspace/database';
import type { Outcome } from '@streamspace/protocol';
import type { Knex } from 'knex';
import type { Logger } from 'pino';
import { Batcher } from './batcher.ts';
import type { Doorbell, LiveEventPublisher } from './collaborators.ts';
import { announceFinished } from './command-queue.ts';

/** How a command ends. With `agentId`, only if it is that agent's command. */
export interface Ending {
  readonly commandId: string;
  readonly agentId?: string;
  readonly outcome:
    | Outcome
    | { readonly status: 'expired'; readonly errorCode: string; readonly errorMessage: string };
}

export interface ResultRecorderOptions {
  readonly db: Knex;
  readonly doorbell: Doorbell;
  readonly events: LiveEventPublisher;
  readonly counters: { ended(action: string, status: string): void };
  readonly logger: Logger;
}

/** What became of one ending of a batch. */
type Stored = { readonly kind: 'stored' } | { readonly kind: 'failed'; readonly error: unknown };

/**
 * Stores endings in batches, from whichever connection they come: the first ending of a command wins.
 * A statement that fails for its data, a deadlock or a lock is split until the entry at fault is alone.
 */
export class ResultRecorder {
  readonly #options: ResultRecorderOptions;
  readonly #batcher: Batcher<Ending, Stored>;

  constructor(options: ResultRecorderOptions) {
    this.#options = options;
    this.#batcher = new Batcher((endings) => this.#store(endings), { maxItems: 500 });
  }

  /** Resolves when it is stored, or was before; rejects when it could not be and is to come again. */
  async record(ending: Ending): Promise<void> {
    const stored = await this.#batcher.add(ending);
    if (stored.kind === 'failed') throw stored.error;
  }

  async #store(endings: readonly Ending[]): Promise<readonly Stored[]> {
    try {
      const finished = await finishCommands(this.#options.db, endings);
      announceFinished(finished, this.#options);
      for (const { action, status } of finished.commands)
        this.#options.counters.ended(action, status);
      return endings.map(() => ({ kind: 'stored' }));
    } catch (error) {
      if (isWorthSplitting(error)) return this.#storeSplit(endings, error);
      return endings.map(() => ({ kind: 'failed', error }));
    }
  }

  async #storeSplit(endings: readonly Ending[], error: unknown): Promise<readonly Stored[]> {
    const [alone] = endings;
    if (alone && endings.length === 1) {
      if (!isDataException(error) || isUnreadable(alone)) return [{ kind: 'failed', error }];
      this.#options.logger.warn(
        { err: error, commandId: alone.commandId },
        'a result cannot be stored as it is',
      );
      return this.#store([toUnreadable(alone)]);
    }
    const half = Math.ceil(endings.length / 2);
    return [
      ...(await this.#store(endings.slice(0, half))),
      ...(await this.#store(endings.slice(half))),
    ];
  }
}

/** Ends commands in one statement; `unsentOnly`: only those that were never claimed. */
export async function finishCommands(
  db: Knex,
  endings: readonly Ending[],
  { unsentOnly = false }: { readonly unsentOnly?: boolean } = {},
): Promise<Finished> {
  const entries = endings.map(({ commandId, agentId, outcome }) => ({
    command_id: commandId,
    agent_id: agentId ?? null,
    status: outcome.status,
    error_code: outcome.errorCode ?? null,
    error_message: outcome.errorMessage ?? null,
    result: 'result' in outcome ? (outcome.result ?? null) : null,
  }));
  const [row] = await queryRows<{ finished: unknown }>(
    db,
    'select finish_commands(:entries::jsonb, :unsentOnly) as finished',
    { entries: JSON.stringify(entries), unsentOnly },
    'finish_commands',
  );
  return finishedSchema.parse(row?.finished);
}

const UNREADABLE = 'result_unreadable';

export function toUnreadable({
  commandId,
  agentId,
}: Pick<Ending, 'commandId' | 'agentId'>): Ending {
  return {
    commandId,
    ...(agentId !== undefined && { agentId }),
    outcome: {
      status: 'failed',
      errorCode: UNREADABLE,
      errorMessage:
        'The agent’s result could not be read; whether the command took effect is not known.',
    },
  };
}

function isUnreadable(ending: Ending): boolean {
  return ending.outcome.errorCode === UNREADABLE;
}

function isWorthSplitting(error: unknown): boolean {
  const state = sqlStateOf(error);
  return (
    isDataException(error) ||
    state === SqlState.deadlockDetected ||
    state === SqlState.lockNotAvailable
  );
}
