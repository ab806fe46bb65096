import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import {
  AGENT_NAMESPACE,
  AGENT_SOCKET_PATH,
  commandsAckSchema,
  helloSchema,
  resultsSchema,
  commandResultSchema,
  type CommandResult,
  type WireCommand,
} from '@streamspace/protocol';
import { waitUntil } from '@streamspace/local-stack';
import { Server, type Socket } from 'socket.io';

const ACK_TIMEOUT_MS = 10_000;

/** The control plane's end of the protocol for one agent, which delivers what it is told and remembers every result. */
export class ScriptedHub implements AsyncDisposable {
  /** Repeats included, in the order in which they came. */
  readonly results: CommandResult[] = [];
  readonly #http = createServer();
  readonly #io: Server;
  #current: { readonly socket: Socket; readonly epoch: number } | undefined;
  #epoch = 0;

  constructor() {
    this.#io = new Server(this.#http, {
      path: AGENT_SOCKET_PATH,
      transports: ['websocket'],
      serveClient: false,
    });
    this.#io.of(AGENT_NAMESPACE).on('connection', (socket) => this.#welcome(socket));
  }

  async listen(): Promise<this> {
    this.#http.listen(0, '127.0.0.1');
    await once(this.#http, 'listening');
    return this;
  }

  get url(): string {
    const { port } = this.#http.address() as AddressInfo;
    return `http://127.0.0.1:${port}`;
  }

  /** One frame; throws when it is not acknowledged whole. */
  async deliver(commands: readonly WireCommand[]): Promise<void> {
    const { socket, epoch } = await this.connection();
    const answer: unknown = await new Promise((resolve, reject) => {
      socket
        .timeout(ACK_TIMEOUT_MS)
        .emit('commands', { epoch, commands }, (error: Error | null, ack: unknown) => {
          if (error) reject(error);
          else resolve(ack);
        });
    });
    const acknowledged = new Set(commandsAckSchema.parse(answer).acknowledged);
    const missing = commands.filter(({ commandId }) => !acknowledged.has(commandId));
    if (missing.length > 0) throw new Error(`${missing.length} commands were not acknowledged`);
  }

  /** The agent's, once it has one. */
  async connection(): Promise<{ readonly socket: Socket; readonly epoch: number }> {
    return waitUntil(() => this.#current, { what: 'the agent is connected', intervalMs: 5 });
  }

  /** Brings about that the agent connects anew, and resolves when it has. */
  async reconnected(by: (socket: Socket) => Promise<void> | void): Promise<void> {
    const before = await this.connection();
    await by(before.socket);
    await waitUntil(() => this.#epoch > before.epoch, {
      what: 'the agent is connected anew',
      intervalMs: 5,
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#io.close();
  }

  #welcome(socket: Socket): void {
    const { highestEpoch } = helloSchema.parse(socket.handshake.auth);
    this.#epoch = Math.max(this.#epoch, highestEpoch) + 1;
    this.#current = { socket, epoch: this.#epoch };
    socket.on('results', (message: unknown, ack: (answer: unknown) => void) => {
      const results = resultsSchema
        .parse(message)
        .results.map((entry) => commandResultSchema.parse(entry));
      this.results.push(...results);
      ack({ confirmed: results.map(({ commandId }) => commandId) });
    });
    socket.emit('welcome', {
      epoch: this.#epoch,
      installationId: 'installation-1',
      replica: 'replica-1',
    });
  }
}
