import type {
  endpointSchema,
  InventoryAnswer,
  ObservedState,
  StartPayload,
} from '@streamspace/protocol';
import type { Logger } from 'pino';
import type { z } from 'zod';

export type Endpoint = z.infer<typeof endpointSchema>;

/** What a runtime throws to fail a command with a code of its own; anything else is `internal_error`. */
export class CommandError extends Error {
  /** snake_case, stable: callers switch on it. */
  readonly code: string;

  constructor(code: string, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

/**
 * The reason of an aborted signal. On `stopping` the agent's process ends and will run the command
 * again when it is back: leave what there is as it is. On the others undo it.
 */
export class CommandAborted extends Error {
  readonly reason: 'superseded' | 'cancelled' | 'timed_out' | 'stopping';

  constructor(reason: CommandAborted['reason']) {
    super(`aborted: ${reason}`);
    this.reason = reason;
  }
}

/** True when a runtime must let go of a command and leave everything in place. */
export function isAgentStopping(signal: AbortSignal): boolean {
  return signal.reason instanceof CommandAborted && signal.reason.reason === 'stopping';
}

export interface SessionRef {
  readonly sessionId: string;
  /** Version of the session's desired state: with the session it names one operation. */
  readonly generation: number;
  readonly commandId: string;
}

export interface SessionToStart extends SessionRef {
  readonly spec: StartPayload;
}

export interface SessionProgress {
  readonly state: ObservedState;
  /** One word for people: `pulling`, `starting`. */
  readonly phase?: string;
  readonly code?: string;
  readonly message?: string;
}

export interface OperationContext {
  /** Aborted with a `CommandAborted`. The operation then settles: what follows in its session waits for it. */
  readonly signal: AbortSignal;
  /** Tells the control plane how far it is. */
  report(progress: SessionProgress): void;
  readonly logger: Logger;
}

export interface Started {
  /** Where the session listens, as this agent sees it. */
  readonly endpoint?: Endpoint;
  readonly [detail: string]: unknown;
}

/** What a runtime has seen of a session that no command is running for. */
export interface Observation extends SessionProgress {
  readonly sessionId: string;
  readonly generation: number;
}

/**
 * What the SDK needs of a platform. Every operation is idempotent by (session, generation): after a
 * restart of the agent it is called again for what had not ended, and must find what is there rather
 * than make a second one. For one session one operation runs at a time; sessions run side by side.
 */
export interface Runtime {
  /** Called once, first of all, when no other process of this agent can be alive (the journal is locked). */
  open?(): Promise<void>;
  /** Resolves when the session is ready: its port answers. When it rejects, nothing of the session is left. */
  start(session: SessionToStart, context: OperationContext): Promise<Started>;
  /** Resolves when nothing of the session is left; also when there was nothing. Tried again until it resolves. */
  stop(session: SessionRef, context: OperationContext): Promise<void>;
  /** Ends what runs and keeps what the session has stored. */
  hibernate(session: SessionRef, context: OperationContext): Promise<void>;
  /** `start` again, on what was stored. `spec` is that of the start, if it is still known. */
  wake(
    session: SessionRef & { readonly spec?: StartPayload },
    context: OperationContext,
  ): Promise<Started>;
  /** What really is there. `complete: false` (or a rejection) when it could not see everything. */
  inventory(): Promise<InventoryAnswer>;
  /** Called once, after `open` and before the first operation. */
  observe?(listener: (observation: Observation) => void): void;
  /** Lets go of timers and handles; sessions go on. */
  close?(): Promise<void>;
}
