import { toCommandEvent } from '@streamspace/database';
import {
  startPeriodic,
  type AgentConnection,
  type AgentHandler,
  type Periodic,
} from '@streamspace/agent-hub';
import {
  commandResultSchema,
  commandsAckSchema,
  resultsSchema,
  sessionStatusSchema,
  statusesSchema,
  type LiveEvent,
  type ResultsAck,
} from '@streamspace/protocol';
import type { Knex } from 'knex';
import type { Logger } from 'pino';
import { z } from 'zod';
import { Batcher } from './batcher.ts';
import type { Doorbell, LiveEventPublisher } from './collaborators.ts';
import { ConnectionResumer } from './connection-resumer.ts';
import { DeliveryStore, type ClaimedCommand, type OverdueCommand } from './delivery-store.ts';
import { Delivery } from './delivery.ts';
import type { InventoryReconciler } from './inventory-reconciler.ts';
import { ResultRecorder, toUnreadable, type Ending } from './result-recorder.ts';
import { StatusRecorder } from './status-recorder.ts';

export interface DispatcherCounters {
  /** A frame with so many commands went out. */
  sent(commands: number): void;
  resent(commands: number): void;
  /** Milliseconds from the claim's commit to the agent's ack. */
  acknowledged(milliseconds: number): void;
  ended(action: string, status: string): void;
}

export interface CommandDispatcherOptions {
  readonly db: Knex;
  readonly replicaName: string;
  /** How many commands an agent may have unacknowledged; what runs does not count. */
  readonly window: number;
  readonly doorbell: Doorbell;
  readonly events: LiveEventPublisher;
  readonly inventory: InventoryReconciler;
  readonly counters: DispatcherCounters;
  readonly logger: Logger;
}

const SWEEP_EVERY_MS = 2000;
const INVENTORY_EVERY_MS = 300_000;
/** Longer than a journal's fsync ever takes; the sweep sends again what is not acknowledged. */
const ACK_TIMEOUT_MS = 10_000;
const MAX_QUEUES_A_CLAIM = 500;

/**
 * Delivers what is queued to the agents of this replica. A ring, the end of a resume, an ack that made
 * room and the sweep all say the same: look at this agent. One claim is in flight at a time; what rings
 * meanwhile is the next.
 */
export class CommandDispatcher implements AgentHandler {
  readonly #options: CommandDispatcherOptions;
  readonly #store: DeliveryStore;
  readonly #results: ResultRecorder;
  readonly #statuses: StatusRecorder;
  readonly #resumer: ConnectionResumer;
  readonly #acks: Batcher<{ claimed: ClaimedCommand }, true>;
  readonly #deliveries = new Map<string, Delivery>();
  readonly #due = new Set<string>();
  #claiming: Promise<void> | undefined;
  #sweep: Periodic | undefined;
  #isStopped = false;

  constructor(options: CommandDispatcherOptions) {
    this.#options = options;
    this.#store = new DeliveryStore(options.db, options.replicaName);
    this.#results = new ResultRecorder(options);
    this.#statuses = new StatusRecorder(options);
    this.#resumer = new ConnectionResumer({
      store: this.#store,
      results: this.#results,
      logger: options.logger,
    });
    this.#acks = new Batcher((acks) => this.#acknowledge(acks.map(({ claimed }) => claimed)));
  }

  start(): void {
    this.#sweep = startPeriodic({
      everyMs: SWEEP_EVERY_MS,
      run: () => this.#sweepOnce(),
      onError: (err) => this.#options.logger.warn({ err }, 'the dispatch sweep failed'),
    });
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    await this.#sweep?.stop();
    await this.#claiming;
  }

  onConnected(connection: AgentConnection): void {
    const delivery = new Delivery(connection, this.#options.window);
    this.#deliveries.set(connection.agentId, delivery);
    void this.#resume(delivery);
  }

  onDisconnected(connection: AgentConnection): void {
    if (this.#deliveries.get(connection.agentId)?.connection === connection)
      this.#deliveries.delete(connection.agentId);
  }

  onRing(agentIds: readonly string[]): void {
    for (const agentId of agentIds)
      if (this.#deliveries.get(agentId)?.isReady) this.#due.add(agentId);
    if (this.#due.size > 0 && !this.#isStopped) this.#claiming ??= this.#claimWhileDue();
  }

  /** Results are facts: they count from whichever connection of the agent they come. */
  async onResults(connection: AgentConnection, message: unknown): Promise<ResultsAck> {
    const endings = resultsSchema
      .parse(message)
      .results.map((entry) => parseEnding(entry, connection.agentId))
      .filter((ending) => ending !== undefined);
    await Promise.all(endings.map((ending) => this.#results.record(ending)));
    return { confirmed: endings.map(({ commandId }) => commandId) };
  }

  async onStatuses(connection: AgentConnection, message: unknown): Promise<{ stored: number }> {
    const isCurrent = this.#deliveries.get(connection.agentId)?.connection === connection;
    const statuses = statusesSchema
      .parse(message)
      .statuses.map((entry) => sessionStatusSchema.safeParse(entry).data)
      .filter((status) => status !== undefined);
    const { agentId, epoch } = connection;
    if (isCurrent)
      await Promise.all(
        statuses.map((status) => this.#statuses.record({ agentId, epoch, status })),
      );
    return { stored: statuses.length };
  }

  async #resume(delivery: Delivery): Promise<void> {
    const { connection } = delivery;
    const resumed = await this.#resumer.resume(connection);
    if (!resumed || !connection.isOpen) return;
    if (resumed.brokeUnacknowledged) delivery.probe();
    delivery.isReady = true;
    this.onRing([connection.agentId]);
    await this.#takeInventory(delivery);
  }

  async #takeInventory(delivery: Delivery): Promise<void> {
    delivery.inventoryDueAtMs =
      performance.now() + INVENTORY_EVERY_MS * (0.9 + 0.2 * Math.random());
    await this.#options.inventory
      .reconcile(delivery.connection)
      .catch((err: unknown) =>
        this.#options.logger.warn(
          { err, agentId: delivery.connection.agentId },
          'reconciling an inventory failed',
        ),
      );
  }

  async #claimWhileDue(): Promise<void> {
    try {
      while (this.#due.size > 0 && !this.#isStopped) await this.#claimOnce();
    } catch (err) {
      // Postgres is away: the sweep tries again. A claim that was committed is sent again by it as well.
      this.#due.clear();
      this.#options.logger.warn({ err }, 'claiming commands failed');
    } finally {
      this.#claiming = undefined;
    }
  }

  async #claimOnce(): Promise<void> {
    const queues = [];
    for (const agentId of this.#due) {
      this.#due.delete(agentId);
      const delivery = this.#deliveries.get(agentId);
      if (delivery?.isReady)
        queues.push({ agentId, epoch: delivery.connection.epoch, window: delivery.window });
      if (queues.length === MAX_QUEUES_A_CLAIM) break;
    }
    if (queues.length === 0) return;
    const claimed = await this.#store.claim(queues);
    for (const [agentId, commands] of groupByAgent(claimed)) void this.#deliver(agentId, commands);
    this.#publish(claimed, 'sent');
  }

  /** A connection that was replaced meanwhile is left alone: the new one's resume asks about these. */
  async #deliver(agentId: string, commands: readonly ClaimedCommand[]): Promise<void> {
    const delivery = this.#deliveries.get(agentId);
    const [first] = commands;
    if (!delivery || delivery.connection.epoch !== first?.epoch) return;
    delivery.noteClaimed(commands);
    this.#options.counters.sent(commands.length);
    await this.#send(delivery, commands);
    if (delivery.mayHaveMore) this.onRing([agentId]);
  }

  async #send(delivery: Delivery, commands: readonly ClaimedCommand[]): Promise<void> {
    const { connection } = delivery;
    const startedAt = performance.now();
    try {
      const answer = await connection.ask(
        'commands',
        Object.assign(
          { epoch: connection.epoch },
          { commands: commands.map(({ command }) => command) },
        ),
        ACK_TIMEOUT_MS,
      );
      const acknowledged = new Set(commandsAckSchema.parse(answer).acknowledged);
      await Promise.all(
        commands
          .filter(({ command }) => acknowledged.has(command.commandId))
          .map(async (claimed) => this.#acks.add({ claimed })),
      );
      delivery.noteAcknowledged(acknowledged);
      this.#options.counters.acknowledged(performance.now() - startedAt);
    } catch (err) {
      // The sweep sends it again, or the next connection's resume asks.
      this.#options.logger.info(
        { err, agentId: connection.agentId, epoch: connection.epoch, commands: commands.length },
        'commands were not acknowledged',
      );
    }
  }

  async #acknowledge(acks: readonly ClaimedCommand[]): Promise<readonly true[]> {
    const changed = await this.#store.acknowledge(
      acks.map(({ command, epoch }) => ({
        commandId: command.commandId,
        attempt: command.attempt,
        epoch,
      })),
    );
    this.#publish(
      acks.filter(({ command }) => changed.has(command.commandId)),
      'acknowledged',
    );
    return acks.map(() => true);
  }

  async #sweepOnce(): Promise<void> {
    const ready = [...this.#deliveries.values()].filter((delivery) => delivery.isReady);
    this.onRing(ready.map(({ connection }) => connection.agentId));
    for (let i = 0; i < ready.length; i += MAX_QUEUES_A_CLAIM) {
      const some = ready.slice(i, i + MAX_QUEUES_A_CLAIM);
      const overdue = await this.#store.listOverdue(
        some.map(({ connection: { agentId, epoch } }) => ({ agentId, epoch })),
      );
      for (const [agentId, commands] of groupByAgent(overdue)) await this.#chase(agentId, commands);
    }
    const moved = ready.filter((delivery) => delivery.claimedSeq > 0n);
    if (moved.length > 0)
      await this.#store.advanceHeads(
        moved.map(({ connection, claimedSeq }) => ({ agentId: connection.agentId, claimedSeq })),
      );
    const now = performance.now();
    for (const delivery of ready)
      if (delivery.inventoryDueAtMs < now) void this.#takeInventory(delivery);
  }

  /** What is to be cancelled is asked for again; what was not acknowledged is sent again as it was. */
  async #chase(agentId: string, commands: readonly OverdueCommand[]): Promise<void> {
    const delivery = this.#deliveries.get(agentId);
    if (!delivery) return;
    const { connection } = delivery;
    const cancelled = commands.filter((command) => command.isCancelRequested);
    // The agent has said that it does not know these, and they are never sent again.
    const unknown = cancelled.filter((command) => command.status === 'pending');
    await Promise.all(
      unknown.map(({ command: { commandId } }) =>
        this.#results.record({
          commandId,
          agentId,
          outcome: {
            status: 'cancelled',
            errorCode: 'cancelled',
            errorMessage: 'Cancelled before it ran.',
          },
        }),
      ),
    );
    const held = cancelled.filter((command) => command.status !== 'pending');
    if (held.length > 0)
      connection.send('cancel', {
        epoch: connection.epoch,
        commandIds: held.map(({ command }) => command.commandId),
      });
    const unacknowledged = commands.filter(({ status }) => status === 'sent');
    if (unacknowledged.length === 0 || !connection.isWritable) return;
    if (delivery.noteSentAgain(unacknowledged)) {
      connection.close('unresponsive', 'Commands were not acknowledged though sent three times.');
      return;
    }
    this.#options.counters.resent(unacknowledged.length);
    void this.#send(delivery, unacknowledged);
  }

  #publish(commands: readonly ClaimedCommand[], status: 'sent' | 'acknowledged'): void {
    const updatedAt = new Date();
    this.#options.events.publish(
      commands.map(({ agentId, userId, command }): LiveEvent =>
        toCommandEvent({
          command_id: command.commandId,
          agent_id: agentId,
          session_id: command.sessionId,
          action: command.action,
          status,
          error_code: null,
          error_message: null,
          updated_at: updatedAt,
          user_id: userId,
        }),
      ),
    );
  }
}

function groupByAgent<T extends { readonly agentId: string }>(
  commands: readonly T[],
): ReadonlyMap<string, readonly T[]> {
  const groups = new Map<string, T[]>();
  for (const command of commands) {
    const group = groups.get(command.agentId);
    if (group) group.push(command);
    else groups.set(command.agentId, [command]);
  }
  return groups;
}

/** An entry that cannot be read ends its command all the same, or it would come again for ever. */
function parseEnding(entry: unknown, agentId: string): Ending | undefined {
  const parsed = commandResultSchema.safeParse(entry);
  if (parsed.success)
    return { commandId: parsed.data.commandId, agentId, outcome: parsed.data.outcome };
  const named = z.object({ commandId: z.string().min(1).max(255) }).safeParse(entry);
  return named.success ? toUnreadable({ commandId: named.data.commandId, agentId }) : undefined;
}
