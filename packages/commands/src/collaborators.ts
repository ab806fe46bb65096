import type { LiveEvent } from '@streamspace/protocol';

/** Takes events after their commit. Never throws and never waits: what cannot be sent becomes a gap that readers are told of. */
export interface LiveEventPublisher {
  publish(events: readonly LiveEvent[]): void;
}

/** Wakes the replica that holds an agent's connection. Never throws; a lost ring costs the sweep's interval. */
export interface Doorbell {
  ring(rings: readonly Ring[]): void;
}

export interface Ring {
  readonly agentId: string;
  readonly ownerBootId: string | null;
}

/** What is told to an agent on whichever replica it is, and may be lost: the owner's sweep says it again. */
export interface AgentNotices {
  cancel(agentId: string, epoch: number, commandIds: readonly string[]): void;
}
