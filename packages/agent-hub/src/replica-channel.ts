import { agentReplySchema, type AgentReply } from '@streamspace/protocol';
import type { Redis } from 'ioredis';
import type { Logger } from 'pino';
import { z } from 'zod';
import { startPeriodic, type Periodic } from './periodic.ts';

/**
 * What replicas say to one another, each on the channel of one boot: `<prefix>:replica:<bootId>`.
 * Nothing here must arrive; what has to happen is in Postgres, and the sweep finds it.
 */
const messageSchema = z.discriminatedUnion('type', [
  z.object({ type: z.literal('ring'), agentIds: z.array(z.string()) }),
  z.object({ type: z.literal('superseded'), agentId: z.string(), epoch: z.int() }),
  z.object({
    type: z.literal('request'),
    id: z.string(),
    from: z.string(),
    agentId: z.string(),
    kind: z.string(),
    payload: z.record(z.string(), z.unknown()),
    timeoutMs: z.int(),
  }),
  z.object({ type: z.literal('reply'), id: z.string(), reply: agentReplySchema }),
  z.object({ type: z.literal('probe'), count: z.int() }),
]);
export type ReplicaMessage = z.infer<typeof messageSchema>;
export type ReplicaRequest = Extract<ReplicaMessage, { type: 'request' }>;

export interface ReplicaChannelHandler {
  onRing(agentIds: readonly string[]): void;
  onSuperseded(agentId: string, epoch: number): void;
  onRequest(request: ReplicaRequest): Promise<AgentReply>;
}

const PROBE_EVERY_MS = 5000;

export interface ReplicaChannelOptions {
  readonly commands: Redis;
  readonly subscriber: Redis;
  readonly prefix: string;
  readonly bootId: string;
  readonly handler: ReplicaChannelHandler;
  readonly logger: Logger;
}

export class ReplicaChannel {
  readonly #options: ReplicaChannelOptions;
  readonly #waiting = new Map<string, (reply: AgentReply) => void>();
  #nextRequest = 1;
  #probesSent = 0;
  #probesSeen = 0;
  #prober: Periodic | undefined;

  constructor(options: ReplicaChannelOptions) {
    this.#options = options;
  }

  start(): void {
    const { subscriber } = this.#options;
    subscriber.on('smessage', this.#onMessage);
    // Each time, whatever the client believes to be subscribed to already.
    subscriber.on('ready', this.#subscribe);
    if (subscriber.status === 'ready') this.#subscribe();
    this.#prober = startPeriodic({
      everyMs: PROBE_EVERY_MS,
      run: () => this.#probe(),
      onError: () => undefined,
    });
  }

  async stop(): Promise<void> {
    await this.#prober?.stop();
    this.#options.subscriber.off('smessage', this.#onMessage).off('ready', this.#subscribe);
    for (const settle of this.#waiting.values())
      settle({ ok: false, code: 'replica_stopping', message: 'This replica is stopping.' });
    this.#waiting.clear();
  }

  /** How many received it: a hint only (in a cluster, and after a fail-over, 0 may be wrong). */
  async send(bootId: string, message: ReplicaMessage): Promise<number> {
    const { commands } = this.#options;
    return Number(await commands.spublish(this.#channel(bootId), JSON.stringify(message)));
  }

  /** A question to the replica that holds an agent's connection. Always answers, at the latest after `timeoutMs`. */
  async request(
    bootId: string,
    question: { agentId: string; kind: string; payload: Record<string, unknown> },
    timeoutMs: number,
  ): Promise<AgentReply> {
    const id = `${this.#options.bootId}:${this.#nextRequest++}`;
    const from = this.#options.bootId;
    const reply = this.#waitForReply(id, timeoutMs);
    try {
      const received = await this.send(bootId, {
        type: 'request',
        id,
        from,
        timeoutMs,
        ...question,
      });
      if (received === 0) this.#settle(id, notOwner('The replica that held the agent is gone.'));
    } catch {
      this.#settle(id, {
        ok: false,
        code: 'routing_unavailable',
        message: 'The way to the agent’s replica is away for the moment.',
      });
    }
    return reply;
  }

  async #waitForReply(id: string, timeoutMs: number): Promise<AgentReply> {
    return new Promise((resolve) => {
      const timer = setTimeout(
        () => this.#settle(id, { ok: false, code: 'timeout', message: 'No answer in time.' }),
        timeoutMs,
      );
      this.#waiting.set(id, (reply) => {
        clearTimeout(timer);
        this.#waiting.delete(id);
        resolve(reply);
      });
    });
  }

  #settle(id: string, reply: AgentReply): void {
    this.#waiting.get(id)?.(reply);
  }

  readonly #subscribe = (): void => {
    const { subscriber, bootId, logger } = this.#options;
    subscriber
      .ssubscribe(this.#channel(bootId))
      .catch((err: unknown) => logger.warn({ err }, 'subscribing to the own channel failed'));
  };

  readonly #onMessage = (channel: string, text: string): void => {
    if (channel !== this.#channel(this.#options.bootId)) return;
    const message = parseMessage(text);
    if (!message) return;
    const { handler } = this.#options;
    switch (message.type) {
      case 'ring':
        handler.onRing(message.agentIds);
        return;
      case 'superseded':
        handler.onSuperseded(message.agentId, message.epoch);
        return;
      case 'request':
        void this.#answer(message);
        return;
      case 'reply':
        this.#settle(message.id, message.reply);
        return;
      case 'probe':
        this.#probesSeen = message.count;
    }
  };

  async #answer(request: ReplicaRequest): Promise<void> {
    const reply = await this.#options.handler.onRequest(request);
    await this.send(request.from, { type: 'reply', id: request.id, reply }).catch(() => undefined);
  }

  /** A subscription may be alive and deliver nothing (a fail-over, a half-open connection): built anew. */
  async #probe(): Promise<void> {
    const { subscriber, logger, bootId } = this.#options;
    if (subscriber.status === 'ready' && this.#probesSent - this.#probesSeen >= 2) {
      logger.warn('the own channel is silent; subscribing anew');
      this.#probesSent = 0;
      this.#probesSeen = 0;
      subscriber.disconnect(true);
      return;
    }
    await this.send(bootId, { type: 'probe', count: this.#probesSent + 1 });
    this.#probesSent += 1;
  }

  #channel(bootId: string): string {
    return `${this.#options.prefix}:replica:${bootId}`;
  }
}

export function notOwner(message: string): AgentReply {
  return { ok: false, code: 'not_owner', message };
}

/** Unknown messages, of a newer version for example, are ignored. */
function parseMessage(text: string): ReplicaMessage | undefined {
  try {
    return messageSchema.safeParse(JSON.parse(text)).data;
  } catch {
    return undefined;
  }
}
