import {
  startPayloadSchema,
  type Outcome,
  type StartPayload,
  type WireCommand,
} from '@streamspace/protocol';
import type { Logger } from 'pino';
import { z } from 'zod';
import type { AgentActions } from '../actions.ts';
import { fullJitterMs } from '../backoff.ts';
import { sleep, type Clock } from '../clock.ts';
import { cancelled, completed, failed, superseded } from '../outcome.ts';
import {
  CommandAborted,
  CommandError,
  type OperationContext,
  type Runtime,
  type SessionProgress,
  type SessionRef,
} from '../runtime.ts';

export interface CommandRunnerOptions {
  readonly runtime: Runtime;
  readonly clock: Clock;
  readonly random: () => number;
  readonly logger: Logger;
  readonly actions: AgentActions;
  readonly limitsMs: Readonly<Record<string, number>>;
  /** The spec of the session's start, as far as it is known. */
  readonly findSpec: (sessionId: string) => StartPayload | undefined;
  readonly report: (session: SessionRef, progress: SessionProgress) => void;
}

/** The agent's process is ending: the command has not ended and will be run again. */
export const LEFT = Symbol('left');

/** Carries out one command by the runtime and makes an outcome of whatever comes of it. */
export class CommandRunner {
  readonly #options: CommandRunnerOptions;

  constructor(options: CommandRunnerOptions) {
    this.#options = options;
  }

  /** Settles when the runtime has; never rejects. */
  async run(command: WireCommand, controller: AbortController): Promise<Outcome | typeof LEFT> {
    const { clock, limitsMs } = this.#options;
    const limitMs = limitsMs[command.action];
    const callOff =
      limitMs === undefined
        ? undefined
        : clock.after(limitMs, () => controller.abort(new CommandAborted('timed_out')));
    try {
      controller.signal.throwIfAborted();
      return completed(await this.#carryOut(command, controller.signal));
    } catch (error) {
      return this.#toOutcome(error, command, controller.signal);
    } finally {
      callOff?.();
    }
  }

  #carryOut(command: WireCommand, signal: AbortSignal): Promise<unknown> {
    if (command.sessionId === null) return this.#runAgentAction(command);
    const session: SessionRef = {
      sessionId: command.sessionId,
      generation: command.generation ?? 1,
      commandId: command.commandId,
    };
    const context = this.#contextFor(session, signal);
    switch (command.action) {
      case 'start_session':
        return this.#start(session, command, context);
      case 'wake_session':
        return this.#wake(session, command, context);
      case 'hibernate_session':
        return this.#options.runtime.hibernate(session, context);
      case 'stop_session':
        return this.#stop(session, context);
      default:
        throw unknownAction(command.action);
    }
  }

  async #start(
    session: SessionRef,
    command: WireCommand,
    context: OperationContext,
  ): Promise<unknown> {
    const spec = startPayloadSchema.safeParse(command.payload);
    if (!spec.success) {
      throw new CommandError(
        'invalid_payload',
        `The start cannot be read: ${z.prettifyError(spec.error)}`,
      );
    }
    context.report({ state: 'starting', phase: 'starting' });
    return this.#options.runtime.start({ ...session, spec: spec.data }, context);
  }

  #wake(session: SessionRef, command: WireCommand, context: OperationContext): Promise<unknown> {
    const sent = startPayloadSchema.safeParse(command.payload);
    const spec = sent.success ? sent.data : this.#options.findSpec(session.sessionId);
    return this.#options.runtime.wake({ ...session, ...(spec && { spec }) }, context);
  }

  /** A stop does not fail: it is tried until nothing of the session is left. */
  async #stop(session: SessionRef, context: OperationContext): Promise<void> {
    const { clock, random, runtime } = this.#options;
    for (let attempt = 0; ; attempt += 1) {
      try {
        return await runtime.stop(session, context);
      } catch (err) {
        context.signal.throwIfAborted();
        context.logger.warn({ err, attempt }, 'session could not be stopped, trying again');
        await sleep(clock, fullJitterMs(attempt, random), context.signal);
        context.signal.throwIfAborted();
      }
    }
  }

  async #runAgentAction({ action, payload }: WireCommand): Promise<unknown> {
    const run = this.#options.actions[action];
    if (!run) throw unknownAction(action);
    return run(payload);
  }

  #contextFor(session: SessionRef, signal: AbortSignal): OperationContext {
    return {
      signal,
      report: (progress) => this.#options.report(session, progress),
      logger: this.#options.logger.child({ ...session }),
    };
  }

  #toOutcome(error: unknown, command: WireCommand, signal: AbortSignal): Outcome | typeof LEFT {
    const message = error instanceof Error ? error.message : String(error);
    // The runtime says that it could not undo: that is worth more than why it was asked to.
    if (error instanceof CommandError && (!signal.aborted || error.code === 'undo_failed')) {
      return failed(error.code, message);
    }
    if (signal.reason instanceof CommandAborted) return abortedOutcome(signal.reason, command);
    this.#options.logger.error(
      { err: error, commandId: command.commandId, action: command.action },
      'command failed for an unexpected reason',
    );
    return failed('internal_error', message);
  }
}

function abortedOutcome({ reason }: CommandAborted, command: WireCommand): Outcome | typeof LEFT {
  if (reason === 'stopping') return LEFT;
  if (reason === 'superseded') return superseded;
  return reason === 'cancelled'
    ? cancelled('cancelled', 'The command was cancelled while it ran, and undone.')
    : failed('timed_out', `${command.action} ran for too long and was undone.`);
}

function unknownAction(action: string): CommandError {
  return new CommandError('unknown_action', `This agent does not know the action "${action}".`);
}
