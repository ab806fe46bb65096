import type {
  AgentToServerEvents,
  ClosingCode,
  Hello,
  ServerToAgentEvents,
} from '@streamspace/protocol';
import type { DefaultEventsMap, Namespace, Socket } from 'socket.io';

/** A hello whose key has been checked and forgotten. */
export type AgentIdentity = Omit<Hello, 'key'>;

/** What the handshake's middleware leaves for the connection that follows. */
export interface AdmittedAgent {
  readonly hello: AgentIdentity;
  readonly connectionId: string;
  readonly keyId: string;
  readonly epoch: number;
  readonly journalChanged: boolean;
  readonly previousOwnerBootId: string | null;
}

export interface AgentSocketData {
  admitted?: AdmittedAgent;
}

/** Its emitter is untyped: socket.io's types do not go through a generic event name; `send` and `ask` do. */
export type AgentSocket = Socket<
  AgentToServerEvents,
  DefaultEventsMap,
  DefaultEventsMap,
  AgentSocketData
>;
export type AgentNamespace = Namespace<
  AgentToServerEvents,
  DefaultEventsMap,
  DefaultEventsMap,
  AgentSocketData
>;

type AckedEvent = 'commands' | 'inventory' | 'request' | 'resume';

/** One connection of one agent under one epoch. */
export class AgentConnection {
  readonly agentId: string;
  readonly epoch: number;
  readonly connectionId: string;
  readonly keyId: string;
  readonly hello: AgentIdentity;
  /** The agent's journal is another one than last time: what it took then, it no longer knows. */
  readonly journalChanged: boolean;
  readonly #socket: AgentSocket;

  constructor(socket: AgentSocket, admitted: AdmittedAgent) {
    this.#socket = socket;
    this.agentId = admitted.hello.agentId;
    this.epoch = admitted.epoch;
    this.connectionId = admitted.connectionId;
    this.keyId = admitted.keyId;
    this.hello = admitted.hello;
    this.journalChanged = admitted.journalChanged;
  }

  get isOpen(): boolean {
    return this.#socket.connected;
  }

  send<Event extends Exclude<keyof ServerToAgentEvents, AckedEvent>>(
    event: Event,
    ...message: Parameters<ServerToAgentEvents[Event]>
  ): void {
    this.#socket.emit(event, ...message);
  }

  /** Rejects when the agent has not answered within `timeoutMs`, or the connection ends before. */
  async ask(
    event: AckedEvent,
    message: { readonly epoch: number },
    timeoutMs: number,
  ): Promise<unknown> {
    if (!this.isOpen) throw new Error(`the connection had ended before '${event}' was asked`);
    // Not socket.io's own time-out: its timer outlives the connection.
    return new Promise((resolve, reject) => {
      const settle = (outcome: () => void): void => {
        clearTimeout(timer);
        this.#socket.off('disconnect', onClose);
        outcome();
      };
      const onClose = (): void =>
        settle(() => reject(new Error(`the connection ended before '${event}' was answered`)));
      const timer = setTimeout(
        () => settle(() => reject(new Error(`the agent did not answer '${event}' in time`))),
        timeoutMs,
      );
      this.#socket.once('disconnect', onClose);
      this.#socket.emit(event, message, (answer: unknown) => settle(() => resolve(answer)));
    });
  }

  /** Bytes that the agent has not read yet pile up behind this. */
  get isWritable(): boolean {
    return this.#socket.conn.transport.writable;
  }

  close(code: ClosingCode, message: string): void {
    this.#socket.emit('closing', { code, message });
    this.#socket.disconnect(true);
  }
}
