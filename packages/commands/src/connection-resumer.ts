import { setTimeout as delay } from 'node:timers/promises';
import type { AgentConnection } from '@streamspace/agent-hub';
import { outcomeSchema, resumeAnswerSchema, type ResumeAnswer } from '@streamspace/protocol';
import type { Logger } from 'pino';
import { z } from 'zod';
import type { DeliveryStore, UnresolvedCommand } from './delivery-store.ts';
import type { ResultRecorder } from './result-recorder.ts';

const ANSWER_TIMEOUT_MS = 10_000;
const RETRY_AFTER_MS = 1000;
const MAX_COMMANDS_A_QUESTION = 500;

export interface Resumed {
  /** The connection before ended with commands that the agent never got. */
  readonly brokeUnacknowledged: boolean;
}

export interface ConnectionResumerOptions {
  readonly store: DeliveryStore;
  readonly results: ResultRecorder;
  readonly logger: Logger;
}

const endingSchema = z.object({
  command_id: z.string(),
  agent_id: z.string(),
  status: z.enum(['failed', 'cancelled']),
  error_code: z.string(),
  error_message: z.string(),
});

/**
 * Settles what was with the agent under older epochs before anything new is claimed: the agent is
 * asked about each. Held: it is with the agent. Ended: its outcome is stored. Unknown: it goes back to
 * its old place. Nobody else does this, so what happened before the new epoch is resolved once.
 */
export class ConnectionResumer {
  readonly #options: ConnectionResumerOptions;

  constructor(options: ConnectionResumerOptions) {
    this.#options = options;
  }

  /** Undefined: the connection is over, or was closed because it does not answer. */
  async resume(connection: AgentConnection): Promise<Resumed | undefined> {
    const { logger } = this.#options;
    const { agentId, epoch } = connection;
    while (connection.isOpen) {
      try {
        return await this.#resumeOnce(connection);
      } catch (err) {
        logger.warn({ err, agentId, epoch }, 'resuming a connection failed');
        if (err instanceof NoAnswerError) {
          connection.close('unresponsive', 'The agent did not answer what it holds.');
          return undefined;
        }
        await delay(RETRY_AFTER_MS, undefined, { ref: false });
      }
    }
    return undefined;
  }

  async #resumeOnce(connection: AgentConnection): Promise<Resumed | undefined> {
    const { store } = this.#options;
    const unresolved = await store.listUnresolved(connection);
    const unacknowledged = unresolved.filter((command) => !command.wasAcknowledged);
    let brokeUnacknowledged = false;
    for (let i = 0; i < unresolved.length; i += MAX_COMMANDS_A_QUESTION) {
      const some = unresolved.slice(i, i + MAX_COMMANDS_A_QUESTION);
      const answer = await this.#ask(connection, some);
      const unknown = new Set(
        answer.commands.filter(({ state }) => state === 'unknown').map((entry) => entry.commandId),
      );
      if (unacknowledged.some(({ commandId }) => unknown.has(commandId)))
        brokeUnacknowledged = true;
      if (!(await this.#settle(connection, some, answer, unacknowledged.length === 1 ? 1 : 0)))
        return undefined;
    }
    return { brokeUnacknowledged };
  }

  async #ask(
    connection: AgentConnection,
    commands: readonly UnresolvedCommand[],
  ): Promise<ResumeAnswer> {
    try {
      const question = commands.map(({ commandId, attempt }) => ({ commandId, attempt }));
      return resumeAnswerSchema.parse(
        await connection.ask(
          'resume',
          Object.assign({ epoch: connection.epoch }, { commands: question }),
          ANSWER_TIMEOUT_MS,
        ),
      );
    } catch (cause) {
      throw new NoAnswerError('asking an agent what it holds', { cause });
    }
  }

  /** False: fenced, a newer connection has taken over. What the answer leaves out counts as unknown. */
  async #settle(
    { agentId, epoch, journalChanged }: AgentConnection,
    asked: readonly UnresolvedCommand[],
    answer: ResumeAnswer,
    alone: 0 | 1,
  ): Promise<boolean> {
    const { store, results } = this.#options;
    const states = new Map(answer.commands.map((entry) => [entry.commandId, entry]));
    const held: string[] = [];
    const unknown: string[] = [];
    const ended: Promise<void>[] = [];
    for (const { commandId } of asked) {
      const entry = states.get(commandId);
      if (entry?.state === 'held') held.push(commandId);
      else if (entry?.state === 'ended')
        ended.push(results.record({ commandId, agentId, outcome: entry.outcome }));
      else unknown.push(commandId);
    }
    await Promise.all(ended);
    const settled = await store.settleResumed({
      agentId,
      epoch,
      held,
      unknown,
      alone,
      journalChanged,
    });
    if (settled.kind === 'fenced') return false;
    await Promise.all(
      z
        .array(endingSchema)
        .parse(settled.endings)
        .map((ending) =>
          results.record({
            commandId: ending.command_id,
            agentId: ending.agent_id,
            outcome: outcomeSchema.parse({
              status: ending.status,
              errorCode: ending.error_code,
              errorMessage: ending.error_message,
            }),
          }),
        ),
    );
    return true;
  }
}

class NoAnswerError extends Error {
  override readonly name = 'NoAnswerError';
}
