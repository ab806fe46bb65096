import type { AgentConnection } from './agent-connection.ts';
import type { OwnershipStore } from './ownership-store.ts';

export interface OwnershipSweepOptions {
  readonly ownership: OwnershipStore;
  readonly connections: () => readonly AgentConnection[];
  readonly isArriving: (connectionId: string | null) => boolean;
}

/**
 * Compares what Postgres says that this replica owns with the sockets it has, both ways. It is what
 * closes an older connection, a revoked key's and a deleted agent's when the message that should have
 * is lost, and what releases an agent whose socket is gone when the release failed.
 */
export class OwnershipSweep {
  readonly #options: OwnershipSweepOptions;

  constructor(options: OwnershipSweepOptions) {
    this.#options = options;
  }

  async run(): Promise<void> {
    const { ownership, connections, isArriving } = this.#options;
    // Before the query: one that comes meanwhile is in neither, and must not be judged by it.
    const before = connections();
    const owned = new Map((await ownership.listOwned()).map((agent) => [agent.agentId, agent]));
    for (const connection of before) {
      const agent = owned.get(connection.agentId);
      if (agent?.epoch !== connection.epoch)
        connection.close('superseded', 'A newer connection of this agent has taken over.');
      else if (!agent.isKeyValid) connection.close('key_revoked', 'This key was revoked.');
      else if (!agent.isApproved)
        connection.close('key_revoked', 'An administrator has withdrawn this agent’s approval.');
    }
    const live = new Set(connections().map((connection) => connection.connectionId));
    for (const { agentId, connectionId, epoch } of owned.values())
      if (!isArriving(connectionId) && !live.has(connectionId ?? ''))
        await ownership.release(agentId, epoch);
  }
}
