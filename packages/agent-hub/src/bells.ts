export interface Ring {
  readonly agentId: string;
  /** Null: nobody holds the agent's connection, so nobody is rung. */
  readonly ownerBootId: string | null;
}

/** Collects rings: one message to each owner for all that rang within a turn of the event loop. */
export class Bells {
  readonly #ringOwner: (ownerBootId: string, agentIds: readonly string[]) => void;
  #pending = new Map<string, Set<string>>();

  /** `ringOwner` must not throw. */
  constructor(ringOwner: (ownerBootId: string, agentIds: readonly string[]) => void) {
    this.#ringOwner = ringOwner;
  }

  ring(rings: readonly Ring[]): void {
    for (const { agentId, ownerBootId } of rings) {
      if (ownerBootId === null) continue;
      if (this.#pending.size === 0) setImmediate(() => this.#flush());
      const agents = this.#pending.get(ownerBootId);
      if (agents) agents.add(agentId);
      else this.#pending.set(ownerBootId, new Set([agentId]));
    }
  }

  #flush(): void {
    const pending = this.#pending;
    this.#pending = new Map();
    for (const [ownerBootId, agents] of pending) this.#ringOwner(ownerBootId, [...agents]);
  }
}
