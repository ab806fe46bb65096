import type { Server as HttpServer } from 'node:http';
import { createShardedAdapter } from '@socket.io/redis-adapter';
import { isUnavailable } from '@streamspace/database';
import {
  AGENT_NAMESPACE,
  AGENT_PING_INTERVAL_MS,
  AGENT_PING_TIMEOUT_MS,
  AGENT_PROTOCOL_VERSION,
  AGENT_SOCKET_PATH,
  helloSchema,
  type AgentToServerEvents,
  type Refusal,
  type RefusalCode,
} from '@streamspace/protocol';
import type { Redis } from 'ioredis';
import type { Logger } from 'pino';
import { Server, type DefaultEventsMap } from 'socket.io';
import { v7 as uuidv7 } from 'uuid';
import type { Admission } from './admission.ts';
import type { AgentAuthenticator } from './agent-authenticator.ts';
import type {
  AdmittedAgent,
  AgentIdentity,
  AgentNamespace,
  AgentSocket,
  AgentSocketData,
} from './agent-connection.ts';
import type { OwnershipStore } from './ownership-store.ts';

/** socket.io's own default; batches of the protocol stay far below. */
const MAX_FRAME_BYTES = 1_000_000;
/** A hello that takes longer (Postgres is away) is given up; the agent comes again. */
const HELLO_TIMEOUT_MS = 5000;
const RETRY_WHEN_UNAVAILABLE_MS = 2000;
/** One sentence for both: nobody learns from it which agents exist. */
const UNAUTHORIZED = 'There is no such agent, or its key is another one.';

export interface AgentGatewayOptions {
  readonly httpServer: HttpServer;
  readonly redis: { readonly commands: Redis; readonly subscriber: Redis };
  readonly prefix: string;
  readonly admission: Admission;
  readonly authenticator: AgentAuthenticator;
  readonly ownership: OwnershipStore;
  readonly logger: Logger;
  readonly onConnection: (socket: AgentSocket, admitted: AdmittedAgent) => void;
  readonly onRefused: (code: RefusalCode) => void;
  readonly onPublishFailed: () => void;
}

/**
 * The door for agents: a socket.io server of its own (its ping times and sizes belong to a server, not
 * to a namespace), WebSocket only, so that no load balancer needs sticky sessions. Nobody is inside
 * before the middleware has authenticated them and minted their epoch.
 */
export class AgentGateway {
  readonly #options: AgentGatewayOptions;
  readonly #server: Server<
    AgentToServerEvents,
    DefaultEventsMap,
    DefaultEventsMap,
    AgentSocketData
  >;
  readonly #namespace: AgentNamespace;
  /** Minted, but not yet connected: no ownership without a socket, though it looks like one. */
  readonly #arriving = new Set<string>();
  #isDraining = false;

  constructor(options: AgentGatewayOptions) {
    this.#options = options;
    this.#server = new Server(options.httpServer, {
      path: AGENT_SOCKET_PATH,
      transports: ['websocket'],
      pingInterval: AGENT_PING_INTERVAL_MS,
      pingTimeout: AGENT_PING_TIMEOUT_MS,
      connectTimeout: HELLO_TIMEOUT_MS,
      maxHttpBufferSize: MAX_FRAME_BYTES,
      perMessageDeflate: false,
      serveClient: false,
      destroyUpgrade: false,
      adapter: createShardedAdapter(
        unfailingPublisher(options.redis.commands, options.onPublishFailed),
        options.redis.subscriber,
        { channelPrefix: `${options.prefix}:adapter`, subscriptionMode: 'static' },
      ),
    });
    this.#namespace = this.#server.of(AGENT_NAMESPACE);
    this.#namespace.use((socket, next) => void this.#enter(socket, next));
    this.#namespace.on('connection', (socket) => this.#onConnection(socket));
  }

  isArriving(connectionId: string | null): boolean {
    return connectionId !== null && this.#arriving.has(connectionId);
  }

  /** From any replica, to whichever holds the socket; may be lost, and the sweep is behind it. */
  toRoom(room: string): ReturnType<AgentNamespace['to']> {
    return this.#namespace.to(room);
  }

  drain(): void {
    this.#isDraining = true;
  }

  /** Closes every socket of this replica, and the HTTP server with them. */
  async close(): Promise<void> {
    // Without `local` the adapter would have every other replica close its own, too.
    this.#namespace.local.disconnectSockets(true);
    await this.#server.close();
  }

  async #enter(socket: AgentSocket, next: (error?: Error) => void): Promise<void> {
    const refusal = await this.#admit(socket).catch((error: unknown) => this.#toRefusal(error));
    next(refusal && refusalError(refusal));
  }

  /** Undefined: come in. */
  async #admit(socket: AgentSocket): Promise<Refusal | undefined> {
    if (this.#isDraining)
      return this.#refuse('draining', 'This replica is about to stop; connect again.', 1000);
    const parsed = helloSchema.safeParse(socket.handshake.auth);
    if (!parsed.success) {
      const [issue] = parsed.error.issues;
      return this.#refuse('invalid_hello', `${issue?.path.join('.')}: ${issue?.message}`);
    }
    const { key, ...hello } = parsed.data;
    if (hello.protocolVersion !== AGENT_PROTOCOL_VERSION)
      return this.#refuse(
        'unsupported_protocol',
        `This control plane speaks protocol version ${AGENT_PROTOCOL_VERSION}.`,
      );
    const waitMs = this.#options.admission.admit();
    if (waitMs > 0)
      return this.#refuse('busy', 'Many agents are connecting; come again a little later.', waitMs);

    const authentication = await this.#options.authenticator.authenticate(hello.agentId, key);
    if (authentication.kind === 'authenticated')
      return this.#mint(socket, hello, authentication.keyId);
    return authentication.kind === 'unauthorized'
      ? this.#refuse('unauthorized', UNAUTHORIZED)
      : this.#refuse('not_approved', 'An administrator has yet to approve this agent.');
  }

  async #mint(
    socket: AgentSocket,
    hello: AgentIdentity,
    keyId: string,
  ): Promise<Refusal | undefined> {
    const { ownership } = this.#options;
    const connectionId = `con_${uuidv7()}`;
    this.#arriving.add(connectionId);
    try {
      const minted = await ownership.mint(hello, connectionId, keyId);
      if (minted.kind === 'not_found') return this.#refuse('unauthorized', UNAUTHORIZED);
      if (minted.kind === 'refused')
        return this.#refuse(
          'duplicate_identity',
          'Another host connects with this agent’s identity and is kept. Give this host an agent of its own.',
          minted.retryAfterMs,
        );
      await ownership.describe(hello);
      socket.data.admitted = { hello, connectionId, keyId, ...minted };
      socket.conn.once('close', () => this.#arriving.delete(connectionId));
      if (socket.conn.readyState !== 'open') {
        this.#arriving.delete(connectionId);
        await ownership.release(hello.agentId, minted.epoch);
      }
      return undefined;
    } finally {
      if (!socket.data.admitted) this.#arriving.delete(connectionId);
    }
  }

  #onConnection(socket: AgentSocket): void {
    const { admitted } = socket.data;
    if (!admitted) {
      socket.disconnect(true);
      return;
    }
    this.#options.onConnection(socket, admitted);
    this.#arriving.delete(admitted.connectionId);
  }

  #refuse(code: RefusalCode, message: string, retryAfterMs?: number): Refusal {
    this.#options.onRefused(code);
    return { code, message, ...(retryAfterMs !== undefined && { retryAfterMs }) };
  }

  #toRefusal(error: unknown): Refusal {
    if (!isUnavailable(error))
      this.#options.logger.error({ err: error }, 'admitting an agent failed');
    return this.#refuse(
      'unavailable',
      'The control plane cannot admit agents at the moment.',
      RETRY_WHEN_UNAVAILABLE_MS,
    );
  }
}

/** socket.io hands `data` of a middleware's error to the client's `connect_error`. */
function refusalError(refusal: Refusal): Error & { data: Refusal } {
  return Object.assign(new Error(refusal.message), { data: refusal });
}

/** The adapter does not catch what its publisher throws: without this, Redis away ends the process. */
function unfailingPublisher(redis: Redis, onFailed: () => void): object {
  return {
    spublish: async (channel: string, message: string | Buffer): Promise<number> => {
      try {
        return Number(await redis.spublish(channel, message));
      } catch {
        onFailed();
        return 0;
      }
    },
  };
}
