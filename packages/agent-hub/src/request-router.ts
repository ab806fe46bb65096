import type { AgentReply } from '@streamspace/protocol';
import type { OwnershipStore } from './ownership-store.ts';
import type { Presence } from './presence.ts';
import type { ReplicaChannel } from './replica-channel.ts';

export interface RoutedRequest {
  readonly agentId: string;
  readonly kind: string;
  readonly payload: Record<string, unknown>;
  readonly timeoutMs: number;
}

export interface RequestRouterOptions {
  readonly bootId: string;
  readonly presence: Presence;
  readonly ownership: OwnershipStore;
  readonly channel: ReplicaChannel;
  readonly askLocal: (request: RoutedRequest) => Promise<AgentReply>;
}

/**
 * Finds the replica that holds an agent and asks it. Redis may be behind: an answer of `not_owner`
 * sends the question once more, to the owner that Postgres names, within the caller's time. A
 * time-out means unknown, and is never asked twice.
 */
export class RequestRouter {
  readonly #options: RequestRouterOptions;

  constructor(options: RequestRouterOptions) {
    this.#options = options;
  }

  async request(request: RoutedRequest): Promise<AgentReply> {
    const startedAt = performance.now();
    const first = await this.#findInRedis(request.agentId);
    if (first !== undefined) {
      const reply = await this.#ask(first, request);
      if (reply.ok || (reply.code !== 'not_owner' && reply.code !== 'moved')) return reply;
    }
    const owner = await this.#options.ownership.findOwner(request.agentId);
    const timeoutMs = Math.ceil(request.timeoutMs - (performance.now() - startedAt));
    if (!owner || timeoutMs <= 0)
      return { ok: false, code: 'agent_away', message: 'The agent is not connected.' };
    return this.#ask(owner.bootId, { ...request, timeoutMs });
  }

  async #findInRedis(agentId: string): Promise<string | undefined> {
    try {
      return (await this.#options.presence.find(agentId))?.bootId;
    } catch {
      return undefined;
    }
  }

  async #ask(bootId: string, request: RoutedRequest): Promise<AgentReply> {
    const { agentId, kind, payload, timeoutMs } = request;
    if (bootId === this.#options.bootId) return this.#options.askLocal(request);
    return this.#options.channel.request(bootId, { agentId, kind, payload }, timeoutMs);
  }
}
