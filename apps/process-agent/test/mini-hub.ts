import {
  AGENT_NAMESPACE,
  AGENT_SOCKET_PATH,
  type CommandResult,
  type Hello,
  type InventoryAnswer,
  type SessionStatus,
  type WireCommand,
} from '@streamspace/protocol';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Server, type Socket } from 'socket.io';
import { eventually } from './eventually.ts';

/** As much of a control plane as an agent's process needs. */
export class MiniHub {
  readonly hellos: Hello[] = [];
  readonly outcomes = new Map<string, CommandResult['outcome']>();
  readonly statuses: SessionStatus[] = [];
  readonly #http = createServer();
  readonly #io = new Server(this.#http, { path: AGENT_SOCKET_PATH, transports: ['websocket'] });
  #socket: Socket | undefined;
  #epoch = 0;

  constructor() {
    this.#io.of(AGENT_NAMESPACE).on('connection', (socket) => {
      this.#epoch += 1;
      this.#socket = socket;
      this.hellos.push(socket.handshake.auth as Hello);
      socket.on('results', ({ results }: { results: CommandResult[] }, ack) => {
        for (const { commandId, outcome } of results) this.outcomes.set(commandId, outcome);
        ack({ confirmed: results.map(({ commandId }) => commandId) });
      });
      socket.on('statuses', ({ statuses }: { statuses: SessionStatus[] }, ack) => {
        this.statuses.push(...statuses);
        ack({ stored: statuses.length });
      });
      socket.emit('welcome', { epoch: this.#epoch, installationId: 'test', replica: 'test' });
    });
  }

  async listen(): Promise<string> {
    this.#http.listen(0, '127.0.0.1');
    await once(this.#http, 'listening');
    return `http://127.0.0.1:${(this.#http.address() as AddressInfo).port}`;
  }

  /** Waits for the nth connection. */
  async connected(count: number): Promise<Hello> {
    await eventually(() => this.hellos.length >= count, 15_000);
    return this.hellos[count - 1]!;
  }

  async run(command: WireCommand): Promise<CommandResult['outcome']> {
    await this.#ask('commands', { commands: [command] });
    await eventually(() => this.outcomes.has(command.commandId), 15_000);
    return this.outcomes.get(command.commandId)!;
  }

  inventory(): Promise<InventoryAnswer> {
    return this.#ask('inventory', {}) as Promise<InventoryAnswer>;
  }

  close(): Promise<void> {
    return this.#io.close();
  }

  #ask(event: string, message: object): Promise<unknown> {
    return this.#socket!.timeout(5000).emitWithAck(event, { epoch: this.#epoch, ...message });
  }
}
