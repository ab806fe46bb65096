import {
  callFunction,
  commandRowSchema,
  finishedSchema,
  queryRows,
  sessionRowSchema,
  toCommandEvent,
  toSessionEvent,
  type CommandRow,
  type Finished,
  type SessionRow,
} from '@streamspace/database';
import type { AgentAction, Labels, SessionAction, StartPayload } from '@streamspace/protocol';
import type { Knex } from 'knex';
import { z } from 'zod';
import type { AgentNotices, Doorbell, LiveEventPublisher } from './collaborators.ts';
import { newCommandId } from './command-id.ts';

/** Written in the transaction of what it guards. Unique per principal, method and path. */
export interface IdempotencyEntry {
  readonly principal: string;
  readonly method: string;
  readonly path: string;
  readonly key: string;
  /** Of the request, in hex. */
  readonly hash: string;
}

export interface StartRequest {
  readonly sessionId: string;
  readonly agentId: string;
  readonly userId: string;
  readonly name: string | null;
  readonly template: string;
  readonly platform: string;
  readonly labels: Labels;
  readonly payload: StartPayload;
  readonly cpu: string | null;
  readonly memory: string | null;
  readonly cpuMillis: number;
  readonly memoryBytes: number;
  readonly onVanished: 'fail' | 'restart';
  readonly idempotency?: IdempotencyEntry | undefined;
}

export interface ChangeRequest {
  readonly sessionId: string;
  readonly action: SessionAction;
  /** The control plane's own: may act on what has ended. */
  readonly repair?: boolean;
  readonly idempotency?: IdempotencyEntry | undefined;
}

const acceptedSchema = z.object({
  kind: z.literal('accepted'),
  session: sessionRowSchema,
  command: commandRowSchema.nullable(),
  /** What a stop ended that was never sent. */
  superseded: z.array(commandRowSchema).default([]),
  ownerBootId: z.string().nullable(),
});

const startAnswerSchema = z.discriminatedUnion('kind', [
  acceptedSchema,
  z.object({ kind: z.enum(['no_room', 'queue_full']) }),
]);
export type StartAnswer = z.infer<typeof startAnswerSchema>;

const changeAnswerSchema = z.discriminatedUnion('kind', [
  acceptedSchema,
  z.object({ kind: z.enum(['not_found', 'queue_full']) }),
  z.object({
    kind: z.enum(['nothing_to_do', 'wrong_state', 'busy', 'no_room']),
    session: sessionRowSchema,
  }),
]);
export type ChangeAnswer = z.infer<typeof changeAnswerSchema>;

const agentCommandAnswerSchema = z.discriminatedUnion('kind', [
  z.object({
    kind: z.literal('accepted'),
    commands: z.array(commandRowSchema),
    ownerBootId: z.string().nullable(),
  }),
  z.object({ kind: z.enum(['not_found', 'queue_full']) }),
]);
export type AgentCommandAnswer = z.infer<typeof agentCommandAnswerSchema>;

const cancelAnswerSchema = z.discriminatedUnion('kind', [
  z.object({
    kind: z.literal('accepted'),
    command: commandRowSchema,
    changed: finishedSchema,
    epoch: z.coerce.number(),
  }),
  z.object({ kind: z.literal('not_found') }),
  z.object({ kind: z.enum(['ended', 'stop']), command: commandRowSchema }),
]);
export type CancelAnswer = z.infer<typeof cancelAnswerSchema>;

export interface CommandQueueOptions {
  readonly db: Knex;
  readonly doorbell: Doorbell;
  readonly events: LiveEventPublisher;
  readonly notices: AgentNotices;
  /** Open commands of one agent, stops apart; may be exceeded by what is being enqueued at the moment. */
  readonly maxQueuedPerAgent: number;
  /** How long a command waits for its agent before it expires undelivered. */
  readonly expiresInMs: number;
}

/**
 * Writing to the queue. Everything returned as `accepted` is committed; its owner has been rung and
 * live events are on their way.
 */
export class CommandQueue {
  readonly #options: CommandQueueOptions;

  constructor(options: CommandQueueOptions) {
    this.#options = options;
  }

  /** Reserves room on that agent and writes session and start command, or `no_room` or `queue_full` and nothing. */
  async startSession(request: StartRequest): Promise<StartAnswer> {
    const answer = startAnswerSchema.parse(
      await callFunction(this.#options.db, 'start_session', {
        ...request,
        commandId: newCommandId(),
        protocol: request.payload.protocol,
        port: request.payload.ports[0]?.port,
        expiresInMs: this.#options.expiresInMs,
        maxQueued: this.#options.maxQueuedPerAgent,
      }),
    );
    if (answer.kind === 'accepted') this.#announce(answer);
    return answer;
  }

  /** Stop, hibernate, wake; a stop is never refused for a full queue, and what it overtakes is cancelled. */
  async changeSession(request: ChangeRequest): Promise<ChangeAnswer> {
    const answer = changeAnswerSchema.parse(
      await callFunction(this.#options.db, 'change_session', {
        ...request,
        commandId: newCommandId(),
        expiresInMs: this.#options.expiresInMs,
        maxQueued: this.#options.maxQueuedPerAgent,
      }),
    );
    if (answer.kind === 'accepted') this.#announce(answer);
    return answer;
  }

  /** Commands for the agent itself, one for each payload, in their order, in one transaction. */
  async enqueueAgentCommands(request: {
    readonly agentId: string;
    readonly action: AgentAction;
    readonly payloads?: readonly Readonly<Record<string, unknown>>[];
    readonly idempotency?: IdempotencyEntry | undefined;
  }): Promise<AgentCommandAnswer> {
    const { payloads = [{}], ...rest } = request;
    const answer = agentCommandAnswerSchema.parse(
      await callFunction(this.#options.db, 'enqueue_agent_commands', {
        ...rest,
        commands: payloads.map((payload) => ({ id: newCommandId(), payload })),
        expiresInMs: this.#options.expiresInMs,
        maxQueued: this.#options.maxQueuedPerAgent,
      }),
    );
    if (answer.kind === 'accepted') {
      this.#options.doorbell.ring([{ agentId: request.agentId, ownerBootId: answer.ownerBootId }]);
      this.#options.events.publish(
        answer.commands.map((command) => toCommandEvent({ ...command, user_id: null })),
      );
    }
    return answer;
  }

  async cancel(commandId: string): Promise<CancelAnswer> {
    const [row] = await queryRows<{ answer: unknown }>(
      this.#options.db,
      'select cancel_command(:commandId) as answer',
      { commandId },
    );
    const answer = cancelAnswerSchema.parse(row?.answer);
    if (answer.kind === 'accepted') {
      announceFinished(answer.changed, this.#options);
      const { agent_id: agentId, completed_at: completedAt } = answer.command;
      if (agentId !== null && completedAt === null)
        this.#options.notices.cancel(agentId, answer.epoch, [commandId]);
    }
    return answer;
  }

  #announce({ session, command, superseded, ownerBootId }: z.infer<typeof acceptedSchema>): void {
    if (session.agent_id !== null)
      this.#options.doorbell.ring([{ agentId: session.agent_id, ownerBootId }]);
    this.#options.events.publish([
      toSessionEvent(session),
      ...[...superseded, ...(command ? [command] : [])].map((row) =>
        toCommandEvent({ ...row, user_id: session.user_id }),
      ),
    ]);
  }
}

/** Rings the owners (a follower may have become due) and publishes what changed. */
export function announceFinished(
  finished: Finished,
  { doorbell, events }: { readonly doorbell: Doorbell; readonly events: LiveEventPublisher },
): void {
  doorbell.ring(finished.rings);
  events.publish([
    ...finished.commands.map(toCommandEvent),
    ...finished.sessions.map(toSessionEvent),
  ]);
}

/** An answer that was stored under an idempotency key, as rows. */
export function parseStoredAnswer(answer: unknown): {
  session: SessionRow | undefined;
  command: CommandRow | null | undefined;
} {
  const stored = z
    .object({ session: sessionRowSchema.optional(), command: commandRowSchema.nullish() })
    .parse(answer);
  return { session: stored.session, command: stored.command };
}
