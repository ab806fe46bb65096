import type { AgentConnection } from '@streamspace/agent-hub';
import type { ClaimedCommand } from './delivery-store.ts';

/** How often a command is sent in vain on one connection before that is closed. */
const MAX_SENDS_AGAIN = 3;

/** What the owner knows of one connection; all of it may be lost, Postgres has what matters. */
export class Delivery {
  readonly connection: AgentConnection;
  readonly #fullWindow: number;
  readonly #sentAgain = new Map<string, number>();
  #isProbing = false;
  /** Resumed: commands may be claimed for it. */
  isReady = false;
  inventoryDueAtMs = Number.POSITIVE_INFINITY;
  /** The last claim filled the window, so more may be waiting behind it. */
  mayHaveMore = false;
  /** The highest seq that was claimed on this connection. */
  claimedSeq = 0n;

  constructor(connection: AgentConnection, window: number) {
    this.connection = connection;
    this.#fullWindow = window;
  }

  get window(): number {
    return this.#isProbing ? 1 : this.#fullWindow;
  }

  /**
   * The connection before broke with commands unacknowledged: one of them may be what breaks it. One
   * at a time until the first ack, so that the others are not counted with it.
   */
  probe(): void {
    this.#isProbing = true;
  }

  noteClaimed(commands: readonly ClaimedCommand[]): void {
    this.mayHaveMore = commands.length >= this.window;
    const last = commands.at(-1);
    if (last && last.seq > this.claimedSeq) this.claimedSeq = last.seq;
  }

  noteAcknowledged(commandIds: ReadonlySet<string>): void {
    if (commandIds.size === 0) return;
    if (this.#isProbing) this.mayHaveMore = true;
    this.#isProbing = false;
    for (const commandId of commandIds) this.#sentAgain.delete(commandId);
  }

  /** True when that was once too often. */
  noteSentAgain(commands: readonly ClaimedCommand[]): boolean {
    let isTooOften = false;
    for (const { command } of commands) {
      const times = (this.#sentAgain.get(command.commandId) ?? 0) + 1;
      this.#sentAgain.set(command.commandId, times);
      if (times > MAX_SENDS_AGAIN) isTooOften = true;
    }
    return isTooOften;
  }
}
