import type { Server as HttpServer } from 'node:http';
import {
  agentReplySchema,
  heartbeatSchema,
  type AgentReply,
  type ClosingCode,
  type LiveEvent,
  type ResultsAck,
} from '@streamspace/protocol';
import type { Knex } from 'knex';
import type { Logger } from 'pino';
import { Admission } from './admission.ts';
import { AgentAuthenticator } from './agent-authenticator.ts';
import { AgentConnection, type AdmittedAgent, type AgentSocket } from './agent-connection.ts';
import { AgentGateway } from './agent-gateway.ts';
import { Bells, type Ring } from './bells.ts';
import { OwnershipStore } from './ownership-store.ts';
import { OwnershipSweep } from './ownership-sweep.ts';
import { startPeriodic, type Periodic } from './periodic.ts';
import { Presence } from './presence.ts';
import type { RedisConnections } from './redis-connection.ts';
import { ReplicaBeat } from './replica-beat.ts';
import { notOwner, ReplicaChannel, type ReplicaRequest } from './replica-channel.ts';
import { ReplicaStore } from './replica-store.ts';
import type { Replica } from './replica.ts';
import { RequestRouter } from './request-router.ts';

/** What the hub tells of its agents; the dispatcher is one. Nothing here may throw. */
export interface AgentHandler {
  onConnected(connection: AgentConnection): void;
  onDisconnected(connection: AgentConnection): void;
  onRing(agentIds: readonly string[]): void;
  onResults(connection: AgentConnection, message: unknown): Promise<ResultsAck>;
  onStatuses(connection: AgentConnection, message: unknown): Promise<{ stored: number }>;
}

export interface HubCounters {
  refused(code: string): void;
  publishFailed(): void;
  failedMessage(event: string): void;
}

export interface AgentHubOptions {
  readonly db: Knex;
  readonly redis: RedisConnections;
  readonly prefix: string;
  readonly httpServer: HttpServer;
  readonly replica: Replica;
  readonly helloRatePerSecond: number;
  readonly events: { publish(events: readonly LiveEvent[]): void };
  readonly counters: HubCounters;
  readonly logger: Logger;
}

const PRESENCE_RENEW_MS = 5000;

/**
 * Who is connected where: ownership by epoch in Postgres, the address book in Redis, a channel for
 * each replica, and the sockets of this one.
 */
export class AgentHub {
  readonly #options: AgentHubOptions;
  /** The newest connection of each agent that this replica holds. */
  readonly #connections = new Map<string, AgentConnection>();
  readonly #ownership: OwnershipStore;
  readonly #presence: Presence;
  readonly #channel: ReplicaChannel;
  readonly #gateway: AgentGateway;
  readonly #beat: ReplicaBeat;
  readonly #router: RequestRouter;
  readonly #replicas: ReplicaStore;
  readonly #bells: Bells;
  #loops: Periodic[] = [];
  #handler: AgentHandler | undefined;

  constructor(options: AgentHubOptions) {
    const { db, redis, prefix, replica, logger } = options;
    this.#options = options;
    this.#ownership = new OwnershipStore(db, replica.bootId);
    this.#presence = new Presence(redis.commands, prefix);
    this.#replicas = new ReplicaStore(db);
    this.#channel = new ReplicaChannel({
      ...redis,
      prefix,
      bootId: replica.bootId,
      logger,
      handler: {
        onRing: (agentIds) => this.#handler?.onRing(agentIds),
        onSuperseded: (agentId, epoch) => this.#closeOlder(agentId, epoch),
        onRequest: (request) => this.#answer(request),
      },
    });
    this.#bells = new Bells((ownerBootId, agentIds) => {
      if (ownerBootId === replica.bootId) this.#handler?.onRing(agentIds);
      else
        this.#channel
          .send(ownerBootId, { type: 'ring', agentIds: [...agentIds] })
          .catch(() => options.counters.publishFailed());
    });
    this.#router = new RequestRouter({
      bootId: replica.bootId,
      presence: this.#presence,
      ownership: this.#ownership,
      channel: this.#channel,
      askLocal: (request) => this.#answer(request),
    });
    this.#gateway = new AgentGateway({
      httpServer: options.httpServer,
      redis,
      prefix,
      admission: new Admission(options.helloRatePerSecond),
      authenticator: new AgentAuthenticator(db),
      ownership: this.#ownership,
      logger,
      onConnection: (socket, admitted) => this.#onConnection(socket, admitted),
      onRefused: (code) => options.counters.refused(code),
      onPublishFailed: () => options.counters.publishFailed(),
    });
    this.#beat = new ReplicaBeat({
      replicas: this.#replicas,
      redis: redis.commands,
      prefix,
      replica,
      logger,
      onCutOff: () => this.moveAgents(CUT_OFF_MOVE_WINDOW_MS),
    });
  }

  /** Agents are let in from here on. */
  async start(handler: AgentHandler): Promise<void> {
    this.#handler = handler;
    this.#channel.start();
    await this.#beat.start();
    const sweep = new OwnershipSweep({
      ownership: this.#ownership,
      connections: () => [...this.#connections.values()],
      isArriving: (connectionId) => this.#gateway.isArriving(connectionId),
    });
    this.#loops = [
      startPeriodic({
        everyMs: SWEEP_EVERY_MS,
        run: () => sweep.run(),
        onError: (err) => this.#options.logger.warn({ err }, 'the ownership sweep failed'),
      }),
      startPeriodic({
        everyMs: PRESENCE_RENEW_MS,
        run: () => this.#renewPresence(),
        onError: () => this.#options.counters.publishFailed(),
      }),
    ];
  }

  get connectionCount(): number {
    return this.#connections.size;
  }

  get health(): ReplicaBeat['health'] {
    return this.#beat.health;
  }

  ring(rings: readonly Ring[]): void {
    this.#bells.ring(rings);
  }

  /** Asks an agent, on whichever replica it is; never retried once the agent may have got it. */
  async request(
    agentId: string,
    kind: string,
    payload: Record<string, unknown>,
    { timeoutMs }: { readonly timeoutMs: number },
  ): Promise<AgentReply> {
    return this.#router.request({ agentId, kind, payload, timeoutMs });
  }

  /** A hint to the agent, wherever it is connected; the owner's sweep repeats it until the command ends. */
  cancel(agentId: string, epoch: number, commandIds: readonly string[]): void {
    this.#gateway.toRoom(agentRoom(agentId)).emit('cancel', { epoch, commandIds: [...commandIds] });
  }

  /** Cuts the connections made with these keys, on whichever replica; the owner's sweep would within 2 s. */
  revokeKeys(keyIds: readonly string[]): void {
    for (const keyId of keyIds) this.#cut(keyRoom(keyId), 'key_revoked', 'This key was revoked.');
  }

  cutDeletedAgent(agentId: string): void {
    this.#cut(agentRoom(agentId), 'agent_deleted', 'This agent was deleted.');
  }

  /** Agents open another connection at a random moment within the window, then let go of this one. */
  moveAgents(withinMs: number): void {
    for (const connection of this.#connections.values())
      connection.send('move', { epoch: connection.epoch, withinMs });
  }

  /**
   * Agents are told to move over `windowMs`; resolves when none is left or at the deadline. The caller
   * has been unready for long enough that the load balancer sends them elsewhere.
   */
  async drain({ windowMs, deadlineMs }: { windowMs: number; deadlineMs: number }): Promise<void> {
    this.#gateway.drain();
    this.#beat.setDraining();
    this.moveAgents(windowMs);
    const endsAt = performance.now() + deadlineMs;
    while (this.#connections.size > 0 && performance.now() < endsAt)
      await new Promise((resolve) => setTimeout(resolve, DRAIN_POLL_MS));
  }

  async stop(): Promise<void> {
    await Promise.all(this.#loops.map((loop) => loop.stop()));
    await this.#beat.stop();
    await this.#gateway.close();
    await this.#channel.stop();
    await this.#replicas
      .remove(this.#options.replica.bootId)
      .catch((err: unknown) =>
        this.#options.logger.warn({ err }, 'releasing what this replica owned failed'),
      );
  }

  #onConnection(socket: AgentSocket, admitted: AdmittedAgent): void {
    const { logger, replica, counters } = this.#options;
    const connection = new AgentConnection(socket, admitted);
    const { agentId, epoch } = connection;
    const current = this.#connections.get(agentId);
    if (current && current.epoch > epoch) {
      connection.close('superseded', SUPERSEDED);
      return;
    }
    this.#connections.set(agentId, connection);
    current?.close('superseded', SUPERSEDED);
    const { previousOwnerBootId } = admitted;
    if (previousOwnerBootId !== null && previousOwnerBootId !== replica.bootId)
      this.#channel
        .send(previousOwnerBootId, { type: 'superseded', agentId, epoch })
        .catch(() => counters.publishFailed());

    socket.on('disconnect', (reason) => {
      logger.info({ agentId, epoch, reason }, 'agent disconnected');
      void this.#onDisconnected(connection);
    });
    const { installationId } = this.#beat;
    this.#listen(socket, connection);
    void socket.join([agentRoom(agentId), keyRoom(connection.keyId)]);
    socket.emit('welcome', { epoch, installationId, replica: replica.name });
    logger.info({ agentId, epoch, version: connection.hello.version }, 'agent connected');
    this.#presence
      .renew([{ agentId, epoch, connectionId: connection.connectionId, bootId: replica.bootId }])
      .catch(() => counters.publishFailed());
    this.#publishState(connection, 'online');
    this.#handler?.onConnected(connection);
  }

  #listen(socket: AgentSocket, connection: AgentConnection): void {
    const { counters, logger } = this.#options;
    const answer = async <T>(
      event: string,
      work: Promise<T> | undefined,
      ack?: (answer: T) => void,
    ): Promise<void> => {
      if (!work) return;
      try {
        const result = await work;
        ack?.(result);
      } catch (err) {
        // No ack: the agent keeps what it said and says it again.
        counters.failedMessage(event);
        logger.warn(
          { err, agentId: connection.agentId, event },
          'an agent’s message was not stored',
        );
      }
    };
    socket.on('results', (message, ack) => {
      void answer('results', this.#handler?.onResults(connection, message), ack);
    });
    socket.on('statuses', (message, ack) => {
      void answer('statuses', this.#handler?.onStatuses(connection, message), ack);
    });
    socket.on('heartbeat', (message) => {
      void answer('heartbeat', this.#onHeartbeat(connection, message));
    });
  }

  async #onHeartbeat(connection: AgentConnection, message: unknown): Promise<void> {
    const heartbeat = heartbeatSchema.safeParse(message);
    if (heartbeat.success && this.#isCurrent(connection))
      await this.#ownership.setCapacity(connection.agentId, heartbeat.data.capacity);
  }

  async #onDisconnected(connection: AgentConnection): Promise<void> {
    const { agentId, epoch } = connection;
    if (this.#isCurrent(connection)) this.#connections.delete(agentId);
    this.#handler?.onDisconnected(connection);
    try {
      const wasOwner = await this.#ownership.release(agentId, epoch);
      if (wasOwner) this.#publishState(connection, 'lost');
    } catch (err) {
      // The sweep finds an ownership without a socket.
      this.#options.logger.warn({ err, agentId, epoch }, 'releasing an agent failed');
    }
    await this.#presence
      .release(agentId, epoch)
      .catch(() => this.#options.counters.publishFailed());
  }

  async #answer(request: Omit<ReplicaRequest, 'type' | 'id' | 'from'>): Promise<AgentReply> {
    const connection = this.#connections.get(request.agentId);
    if (!connection) return notOwner('This replica does not hold the agent’s connection.');
    const { kind, payload } = request;
    try {
      const answer = await connection.ask(
        'request',
        Object.assign({ epoch: connection.epoch }, { kind, payload }),
        request.timeoutMs,
      );
      return agentReplySchema.parse(answer);
    } catch {
      return connection.isOpen
        ? { ok: false, code: 'timeout', message: 'The agent did not answer in time.' }
        : { ok: false, code: 'moved', message: 'The agent’s connection ended meanwhile.' };
    }
  }

  #isCurrent(connection: AgentConnection): boolean {
    return this.#connections.get(connection.agentId) === connection;
  }

  #closeOlder(agentId: string, epoch: number): void {
    const connection = this.#connections.get(agentId);
    if (connection && connection.epoch < epoch) connection.close('superseded', SUPERSEDED);
  }

  #cut(room: string, code: ClosingCode, message: string): void {
    const sockets = this.#gateway.toRoom(room);
    sockets.emit('closing', { code, message });
    sockets.disconnectSockets(true);
  }

  async #renewPresence(): Promise<void> {
    const { bootId } = this.#options.replica;
    const all = [...this.#connections.values()];
    for (let i = 0; i < all.length; i += PRESENCE_CHUNK)
      await this.#presence.renew(
        all.slice(i, i + PRESENCE_CHUNK).map(({ agentId, connectionId, epoch }) => ({
          agentId,
          connectionId,
          epoch,
          bootId,
        })),
      );
  }

  #publishState(connection: AgentConnection, state: 'online' | 'lost'): void {
    this.#options.events.publish([
      {
        type: 'agent',
        userId: null,
        agent: {
          agentId: connection.agentId,
          state,
          connectionEpoch: connection.epoch,
          replica: state === 'online' ? this.#options.replica.name : null,
        },
      },
    ]);
  }
}

const SWEEP_EVERY_MS = 2000;
const DRAIN_POLL_MS = 50;
const PRESENCE_CHUNK = 500;
const CUT_OFF_MOVE_WINDOW_MS = 2000;
const SUPERSEDED = 'A newer connection of this agent has taken over.';

function agentRoom(agentId: string): string {
  return `agent:${agentId}`;
}

function keyRoom(keyId: string): string {
  return `key:${keyId}`;
}
