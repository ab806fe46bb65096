import {
  AGENT_NAMESPACE,
  AGENT_SOCKET_PATH,
  closingSchema,
  refusalSchema,
  welcomeSchema,
  type Hello,
  type Refusal,
  type Welcome,
} from '@streamspace/protocol';
import { io, type Socket } from 'socket.io-client';
import type { Clock } from '../clock.ts';

/** From the first packet of the dial to `welcome`; the server itself gives up a silent socket after 5 s. */
const WELCOME_WITHIN_MS = 10_000;

export type ConnectionEnd =
  /** The handshake was answered with a refusal. */
  | { readonly kind: 'refused'; readonly refusal: Refusal }
  /** No connection, or no welcome in time. */
  | { readonly kind: 'unreachable'; readonly reason: string }
  /** It was welcomed and has ended; `closing` is what the server said before. */
  | { readonly kind: 'lost'; readonly reason: string; readonly closing: string | undefined };

export type Ack = (answer: unknown) => void;

export interface ConnectionListener {
  onWelcome(connection: Connection, welcome: Welcome): void;
  /** Everything after the welcome. `ack` does nothing where the server asked for none. */
  onFrame(connection: Connection, event: string, message: unknown, ack: Ack): void;
  /** Once, and nothing after it. Not called for a connection that was closed from here. */
  onEnd(connection: Connection, end: ConnectionEnd): void;
}

export interface ConnectionOptions {
  readonly url: string;
  readonly hello: Hello;
  readonly clock: Clock;
  readonly listener: ConnectionListener;
}

/** One dial and the connection that comes of it; it never comes back once it has ended. */
export class Connection {
  readonly #socket: Socket;
  readonly #listener: ConnectionListener;
  readonly #callOffTimeout: () => void;
  #welcome: Welcome | undefined;
  #closing: string | undefined;
  #isOver = false;

  constructor({ url, hello, clock, listener }: ConnectionOptions) {
    const base = new URL(url);
    this.#listener = listener;
    this.#socket = io(new URL(AGENT_NAMESPACE, base).href, {
      path: `${base.pathname.replace(/\/+$/, '')}${AGENT_SOCKET_PATH}`,
      transports: ['websocket'],
      // The agent's own: full jitter, for ever, and the new one before the old one is let go.
      reconnection: false,
      forceNew: true,
      auth: { ...hello },
    });
    this.#callOffTimeout = clock.after(WELCOME_WITHIN_MS, () =>
      this.#end({ kind: 'unreachable', reason: `no welcome within ${WELCOME_WITHIN_MS} ms` }),
    );
    this.#socket.on('connect_error', (error) => this.#end(toConnectEnd(error)));
    this.#socket.on('disconnect', (reason) => this.#onDisconnect(reason));
    this.#socket.onAny((event: string, ...args: unknown[]) => this.#onEvent(event, args));
  }

  /** That of its welcome; -1 before. */
  get epoch(): number {
    return this.#welcome?.epoch ?? -1;
  }

  get isUsable(): boolean {
    return !this.#isOver && this.#welcome !== undefined && this.#socket.connected;
  }

  emit(event: string, message: unknown, onAck?: Ack): void {
    // socket.io would keep it for a reconnect that never comes.
    if (!this.isUsable) return;
    if (onAck) this.#socket.emit(event, message, onAck);
    else this.#socket.emit(event, message);
  }

  close(): void {
    this.#finish();
  }

  #onEvent(event: string, args: unknown[]): void {
    if (this.#isOver) return;
    const last = args.at(-1);
    const ack: Ack = typeof last === 'function' ? (answer) => void last(answer) : () => {};
    if (event === 'welcome') this.#onWelcome(args[0]);
    else if (event === 'closing') this.#closing = closingSchema.safeParse(args[0]).data?.code;
    else if (this.#welcome) this.#listener.onFrame(this, event, args[0], ack);
  }

  #onWelcome(message: unknown): void {
    const welcome = welcomeSchema.safeParse(message);
    if (!welcome.success) {
      this.#end({ kind: 'unreachable', reason: 'the welcome cannot be read' });
      return;
    }
    this.#callOffTimeout();
    this.#welcome = welcome.data;
    this.#listener.onWelcome(this, welcome.data);
  }

  #onDisconnect(reason: string): void {
    this.#end(
      this.#welcome === undefined
        ? { kind: 'unreachable', reason }
        : { kind: 'lost', reason, closing: this.#closing },
    );
  }

  #end(end: ConnectionEnd): void {
    if (this.#isOver) return;
    this.#finish();
    this.#listener.onEnd(this, end);
  }

  #finish(): void {
    this.#isOver = true;
    this.#callOffTimeout();
    this.#socket.offAny();
    this.#socket.disconnect();
  }
}

function toConnectEnd(error: Error): ConnectionEnd {
  const refusal = refusalSchema.safeParse('data' in error ? error.data : undefined);
  if (refusal.success) return { kind: 'refused', refusal: refusal.data };
  return { kind: 'unreachable', reason: describe(error) };
}

/** engine.io says "websocket error" and hides why in `description`. */
function describe(error: Error): string {
  const cause = 'description' in error ? error.description : undefined;
  const detail =
    typeof cause === 'object' && cause !== null && 'message' in cause ? cause.message : undefined;
  return typeof detail === 'string' ? `${error.message}: ${detail}` : error.message;
}
