import type { InventoryAnswer, InventoryEntry } from '@streamspace/protocol';
import {
  isAgentStopping,
  type Observation,
  type OperationContext,
  type Runtime,
  type SessionRef,
  type SessionToStart,
  type Started,
} from '../src/index.ts';

interface Deferred {
  readonly promise: Promise<void>;
  readonly resolve: () => void;
}

/** `Promise.withResolvers` comes with Node 22. */
function deferred(): Deferred {
  const resolvers: (() => void)[] = [];
  const promise = new Promise<void>((resolve) => {
    resolvers.push(resolve);
  });
  return { promise, resolve: () => resolvers[0]?.() };
}

type Operation = 'start' | 'stop' | 'hibernate' | 'wake';

/** Runs sessions in memory and keeps a ledger of every effect. */
export class ScriptedRuntime implements Runtime {
  /** `start s1/1` when an operation is called, `start s1/1 done` or `... undone` when it settles. */
  readonly ledger: string[] = [];
  readonly created: string[] = [];
  readonly sessions = new Map<string, InventoryEntry>();
  readonly #gates = new Map<string, Deferred>();
  readonly #failures = new Map<string, Error[]>();
  isBlind = false;
  ignoresAborts = false;
  report: ((observation: Observation) => void) | undefined;
  lastWakeSpec: unknown;

  /** Operations on this session wait until the function that is returned is called. */
  hold(sessionId: string): () => void {
    const gate = deferred();
    this.#gates.set(sessionId, gate);
    return () => {
      this.#gates.delete(sessionId);
      gate.resolve();
    };
  }

  /** The next operation of this kind throws; several calls queue up. */
  failNext(operation: Operation, error: Error): void {
    this.#failures.set(operation, [...(this.#failures.get(operation) ?? []), error]);
  }

  async start(session: SessionToStart, context: OperationContext): Promise<Started> {
    await this.#operate('start', session, context);
    this.#create(session);
    return { endpoint: { host: '127.0.0.1', port: 4000 } };
  }

  async wake(
    session: SessionRef & { readonly spec?: unknown },
    context: OperationContext,
  ): Promise<Started> {
    this.lastWakeSpec = session.spec;
    await this.#operate('wake', session, context);
    this.#create(session);
    return { endpoint: { host: '127.0.0.1', port: 4001 } };
  }

  async hibernate(session: SessionRef, context: OperationContext): Promise<void> {
    await this.#operate('hibernate', session, context);
    this.#set(session, 'hibernated');
  }

  async stop(session: SessionRef, context: OperationContext): Promise<void> {
    await this.#operate('stop', session, context);
    this.sessions.delete(session.sessionId);
  }

  inventory(): Promise<InventoryAnswer> {
    if (this.isBlind) return Promise.reject(new Error('cannot see'));
    return Promise.resolve({ complete: true, sessions: [...this.sessions.values()] });
  }

  observe(listener: (observation: Observation) => void): void {
    this.report = listener;
  }

  #create(session: SessionRef): void {
    const running = this.sessions.get(session.sessionId);
    if (running?.generation === session.generation && running.state === 'running') return;
    this.created.push(`${session.sessionId}/${session.generation}`);
    this.#set(session, 'running');
  }

  #set({ sessionId, generation }: SessionRef, state: InventoryEntry['state']): void {
    this.sessions.set(sessionId, { sessionId, generation, state });
  }

  async #operate(
    operation: Operation,
    { sessionId, generation }: SessionRef,
    { signal }: OperationContext,
  ): Promise<void> {
    const name = `${operation} ${sessionId}/${generation}`;
    this.ledger.push(name);
    const failure = this.#failures.get(operation)?.shift();
    if (failure) throw failure;
    const gate = this.#gates.get(sessionId);
    if (gate && operation !== 'stop') {
      const aborted = deferred();
      signal.addEventListener('abort', () => aborted.resolve());
      await Promise.race(this.ignoresAborts ? [gate.promise] : [gate.promise, aborted.promise]);
    }
    if (signal.aborted && !this.ignoresAborts) {
      this.ledger.push(isAgentStopping(signal) ? `${name} left` : `${name} undone`);
      throw signal.reason;
    }
    this.ledger.push(`${name} done`);
  }
}
