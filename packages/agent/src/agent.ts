import type { Capacity, Labels } from '@streamspace/protocol';
import type { Logger } from 'pino';
import type { AgentActions } from './actions.ts';
import type { Clock } from './clock.ts';
import type { RequestHandlers } from './requests.ts';
import type { Runtime } from './runtime.ts';
import type { LinkState } from './wire/link.ts';

/** Sees what passes the fence, in the order in which it does; for audits and tests. */
export interface AgentObserver {
  /** The fence has moved to this epoch. */
  onWelcome?(epoch: number): void;
  /** A `commands` frame is being taken in; what the fence drops is not seen here. */
  onCommands?(frame: { readonly epoch: number; readonly commandIds: readonly string[] }): void;
}

export interface AgentOptions {
  /** The control plane's, with a path where it is served under one: `https://streamspace.example.com`. */
  readonly url: string;
  readonly agentId: string;
  readonly key: string;
  /** On a disk that survives a restart; for this agent alone. */
  readonly journalDir: string;
  readonly runtime: Runtime;
  /** Default: what it was registered with. */
  readonly platform?: string;
  readonly region?: string;
  readonly labels?: Labels;
  readonly capacity?: Capacity;
  /** The program's, for people. */
  readonly version?: string;
  readonly logger?: Logger;
  /** Answers to `request` frames by their kind, besides `ping`. */
  readonly requests?: RequestHandlers;
  /** Carries out commands for the agent itself, besides `ping`. */
  readonly actions?: AgentActions;
  readonly onStateChange?: (state: LinkState) => void;
  readonly observer?: AgentObserver;
  readonly clock?: Clock;
  readonly random?: () => number;
  /** By action, in milliseconds; replaces `RUN_LIMITS_MS`. */
  readonly runLimitsMs?: Readonly<Record<string, number>>;
  /** How long `stop` lets short work come to its end. Default: 3 s. */
  readonly settleMs?: number;
}

/** Counted since the start of the process. */
export interface AgentStats {
  /** Frames of older connections or epochs, which were ignored. */
  readonly staleFrames: number;
  readonly unknownFrames: number;
  readonly repeatedCommands: number;
  readonly unconfirmedResults: number;
  readonly journalFsyncs: number;
  readonly highestEpoch: number;
}

export interface Agent {
  readonly state: LinkState;
  readonly stats: AgentStats;
  /** Takes up what the journal holds and connects, for ever. Throws `JournalLockedError`. */
  start(): Promise<void>;
  /** Lets go of everything; sessions go on, and what has not ended is run again by the next process. */
  stop(): Promise<void>;
  setCapacity(capacity: Capacity): void;
}
