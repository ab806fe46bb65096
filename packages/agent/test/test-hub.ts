import {
  AGENT_NAMESPACE,
  AGENT_SOCKET_PATH,
  type CommandResult,
  type Hello,
  type InventoryAnswer,
  type Refusal,
  type ResumeAnswer,
  type SessionStatus,
  type WireCommand,
} from '@streamspace/protocol';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Server, type Socket } from 'socket.io';
import { eventually } from './eventually.ts';

const ACK_WITHIN_MS = 5000;

/** One welcomed connection, as the control plane sees it. */
export class HubConnection {
  readonly hello: Hello;
  readonly epoch: number;
  readonly socket: Socket;
  readonly results: CommandResult[][] = [];
  readonly statuses: SessionStatus[][] = [];
  readonly heartbeats: unknown[] = [];

  constructor(socket: Socket, hello: Hello, epoch: number) {
    this.socket = socket;
    this.hello = hello;
    this.epoch = epoch;
  }

  get isOpen(): boolean {
    return this.socket.connected;
  }

  send(event: string, message: object = {}): void {
    this.socket.emit(event, { epoch: this.epoch, ...message });
  }

  ask(event: string, message: object = {}, timeoutMs = ACK_WITHIN_MS): Promise<unknown> {
    return this.socket.timeout(timeoutMs).emitWithAck(event, { epoch: this.epoch, ...message });
  }

  commands(...commands: WireCommand[]): Promise<{ acknowledged: string[] }> {
    return this.ask('commands', { commands }) as Promise<{ acknowledged: string[] }>;
  }

  resume(...commandIds: string[]): Promise<ResumeAnswer> {
    const commands = commandIds.map((commandId) => ({ commandId, attempt: 1 }));
    return this.ask('resume', { commands }) as Promise<ResumeAnswer>;
  }

  inventory(): Promise<InventoryAnswer> {
    return this.ask('inventory') as Promise<InventoryAnswer>;
  }

  /** Cuts the transport, without a word. */
  cut(): void {
    this.socket.conn.close();
  }
}

/** The control plane's end, as docs/agent-protocol.md describes it, without a control plane. */
export class TestHub {
  readonly connections: HubConnection[] = [];
  readonly hellos: Hello[] = [];
  /** The first outcome of each command, as the control plane would store it. */
  readonly outcomes = new Map<string, CommandResult['outcome']>();
  /** In the order in which they came, repeats included. */
  readonly results: CommandResult[] = [];
  readonly statuses: SessionStatus[] = [];
  installationId = 'installation-1';
  refusal: Refusal | undefined;
  /** What the next welcome says; by default one more than the last and than the hello's. */
  nextEpoch: number | undefined;
  isSilentAtWelcome = false;
  /** Called for each batch of results; `undefined`: no answer at all. */
  confirm: (results: CommandResult[]) => string[] | undefined = (results) =>
    results.map(({ commandId }) => commandId);
  readonly #io: Server;
  readonly #http = createServer();
  #epoch = 0;

  constructor() {
    this.#io = new Server(this.#http, {
      path: AGENT_SOCKET_PATH,
      transports: ['websocket'],
      serveClient: false,
      pingInterval: 5000,
      pingTimeout: 5000,
    });
    const agents = this.#io.of(AGENT_NAMESPACE);
    agents.use((socket, next) => {
      this.hellos.push(socket.handshake.auth as Hello);
      next(this.refusal && Object.assign(new Error(this.refusal.code), { data: this.refusal }));
    });
    agents.on('connection', (socket) => this.#welcome(socket));
  }

  async listen(port = 0): Promise<this> {
    this.#http.listen(port, '127.0.0.1');
    await once(this.#http, 'listening');
    return this;
  }

  get port(): number {
    return (this.#http.address() as AddressInfo).port;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  get openSockets(): number {
    return this.#io.engine.clientsCount;
  }

  /** The nth welcomed connection, once it is there. */
  async connection(index = 0): Promise<HubConnection> {
    await eventually(() => this.connections.length > index);
    return this.connections[index]!;
  }

  async outcome(commandId: string): Promise<CommandResult['outcome']> {
    await eventually(() => {
      if (!this.outcomes.has(commandId)) throw new Error(`no outcome of ${commandId}`);
    });
    return this.outcomes.get(commandId)!;
  }

  async close(): Promise<void> {
    await this.#io.close();
  }

  #welcome(socket: Socket): void {
    const hello = socket.handshake.auth as Hello;
    this.#epoch = this.nextEpoch ?? Math.max(this.#epoch, hello.highestEpoch) + 1;
    this.nextEpoch = undefined;
    const connection = new HubConnection(socket, hello, this.#epoch);
    socket.on('results', ({ results }: { results: CommandResult[] }, ack) => {
      connection.results.push(results);
      this.results.push(...results);
      const confirmed = this.confirm(results);
      if (confirmed === undefined) return;
      for (const { commandId, outcome } of results) {
        if (confirmed.includes(commandId) && !this.outcomes.has(commandId)) {
          this.outcomes.set(commandId, outcome);
        }
      }
      ack({ confirmed });
    });
    socket.on('statuses', ({ statuses }: { statuses: SessionStatus[] }, ack) => {
      connection.statuses.push(statuses);
      this.statuses.push(...statuses);
      ack({ stored: statuses.length });
    });
    socket.on('heartbeat', (message) => connection.heartbeats.push(message));
    if (this.isSilentAtWelcome) return;
    this.connections.push(connection);
    socket.emit('welcome', {
      epoch: connection.epoch,
      installationId: this.installationId,
      replica: 'replica-1',
    });
  }
}
