import {
  AGENT_PROTOCOL_VERSION,
  type Capacity,
  type Hello,
  type InventoryAnswer,
  type Welcome,
} from '@streamspace/protocol';
import { isDeepStrictEqual } from 'node:util';
import { pino, type Logger } from 'pino';
import { builtInActions } from './actions.ts';
import type { Agent, AgentOptions, AgentStats } from './agent.ts';
import { systemClock, type Clock } from './clock.ts';
import { RUN_LIMITS_MS } from './execution/run-limits.ts';
import { JournalDirectory } from './journal/journal-directory.ts';
import { OrphanRemover } from './orphan-remover.ts';
import { answerRequest, builtInRequests } from './requests.ts';
import type { Ack, Connection } from './wire/connection.ts';
import { readFrame, type Frame } from './wire/frame.ts';
import { Intake, parseCommands } from './wire/intake.ts';
import { Link, type LinkState } from './wire/link.ts';
import { Workload } from './workload.ts';

const DEFAULT_SETTLE_MS = 3000;

/** What exists between `start` and `stop`. */
interface Running {
  readonly directory: JournalDirectory;
  readonly link: Link;
  readonly intake: Intake;
  readonly orphans: OrphanRemover;
  workload: Workload;
  moving: Promise<void> | undefined;
}

/** An agent of the control plane: connects, keeps the journal, and carries out commands by its runtime. */
export function createAgent(options: AgentOptions): Agent {
  return new ConnectedAgent(options);
}

class ConnectedAgent implements Agent {
  readonly #options: AgentOptions;
  readonly #clock: Clock;
  readonly #random: () => number;
  readonly #logger: Logger;
  readonly #counts = { staleFrames: 0, unknownFrames: 0, repeatedCommands: 0 };
  readonly #stopping = new AbortController();
  #capacity: Capacity | undefined;
  #state: LinkState = 'disconnected';
  #sequence: number;
  #running: Running | undefined;

  constructor(options: AgentOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#random = options.random ?? Math.random;
    this.#logger = (options.logger ?? pino({ enabled: false })).child({ agentId: options.agentId });
    this.#capacity = options.capacity;
    // Microseconds: a later process of this agent begins above what an earlier one has reached.
    this.#sequence = this.#clock.now() * 1000;
  }

  get state(): LinkState {
    return this.#state;
  }

  get #settleMs(): number {
    return this.#options.settleMs ?? DEFAULT_SETTLE_MS;
  }

  get stats(): AgentStats {
    return {
      ...this.#counts,
      unconfirmedResults: this.#running?.workload.unconfirmedResults ?? 0,
      journalFsyncs: this.#running?.workload.journal.fsyncs ?? 0,
      highestEpoch: this.#running?.link.highestEpoch ?? 0,
    };
  }

  async start(): Promise<void> {
    const { journalDir: path, runtime } = this.#options;
    const { signal } = this.#stopping;
    const logger = this.#logger;
    const directory = await JournalDirectory.open({ path, clock: this.#clock, logger, signal });
    try {
      await runtime.open?.();
      const workload = await this.#openWorkload(directory);
      const running = this.#assemble(directory, workload);
      this.#running = running;
      runtime.observe?.((observation) => running.workload.observe(observation));
      workload.executor.resume();
      running.link.start();
    } catch (error) {
      await directory.release();
      throw error;
    }
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    const running = this.#running;
    if (running === undefined) return;
    this.#running = undefined;
    await running.moving;
    await running.intake.idle();
    await running.workload.close(this.#settleMs, this.#state === 'connected');
    running.link.stop();
    await this.#options.runtime.close?.();
    await running.directory.release();
  }

  setCapacity(capacity: Capacity): void {
    if (isDeepStrictEqual(capacity, this.#capacity)) return;
    this.#capacity = capacity;
    this.#running?.link.current?.emit('heartbeat', { capacity });
  }

  async #openWorkload(directory: JournalDirectory): Promise<Workload> {
    const journal = await directory.openJournal();
    return new Workload({
      journal,
      runtime: this.#options.runtime,
      clock: this.#clock,
      random: this.#random,
      logger: this.#logger,
      actions: {
        ...builtInActions(this.#clock, this.#options.version ?? null),
        ...this.#options.actions,
      },
      limitsMs: this.#options.runLimitsMs ?? RUN_LIMITS_MS,
      nextSequence: () => {
        this.#sequence += 1;
        return this.#sequence;
      },
    });
  }

  #assemble(directory: JournalDirectory, workload: Workload): Running {
    const logger = this.#logger;
    const running: Running = {
      directory,
      workload,
      moving: undefined,
      link: this.#createLink(() => running),
      intake: new Intake({
        logger,
        journal: (commands) => running.workload.journal.receive(commands),
        isKnown: (commandId) => running.workload.journal.find(commandId) !== undefined,
        onTaken: ({ epoch, commands }) =>
          this.#options.observer?.onCommands?.({
            epoch,
            commandIds: commands.map(({ commandId }) => commandId),
          }),
        onAccepted: (commands) => running.workload.executor.accept(commands),
        onRepeated: (command) => {
          this.#counts.repeatedCommands += 1;
          running.workload.executor.repeat(command);
        },
        onStale: (event) => this.#noteStale(event),
      }),
      orphans: new OrphanRemover({
        clock: this.#clock,
        logger,
        isBusy: (sessionId) => running.workload.executor.isBusy(sessionId),
        remove: (sessionId, generation) =>
          running.workload.executor.removeOrphan(sessionId, generation),
      }),
    };
    return running;
  }

  #createLink(running: () => Running): Link {
    return new Link({
      url: this.#options.url,
      hello: (highestEpoch) => this.#hello(running(), highestEpoch),
      clock: this.#clock,
      random: this.#random,
      logger: this.#logger,
      onWelcome: (connection, welcome) => this.#onWelcome(running(), connection, welcome),
      onFrame: (connection, event, message, ack) => {
        const frame = this.#readCurrent(running(), event, message);
        if (frame) this.#onFrame({ running: running(), connection, frame, ack });
      },
      onLost: () => running().workload.detach(),
      onStateChange: (state) => {
        this.#state = state;
        this.#options.onStateChange?.(state);
      },
      onStale: (event) => this.#noteStale(event),
    });
  }

  #hello({ directory, workload }: Running, highestEpoch: number): Hello {
    const { agentId, key, platform, region, labels, version } = this.#options;
    return {
      agentId,
      key,
      protocolVersion: AGENT_PROTOCOL_VERSION,
      instanceId: directory.instanceId,
      journalId: workload.journal.journalId,
      highestEpoch,
      ...(platform !== undefined && { platform }),
      ...(region !== undefined && { region }),
      ...(labels !== undefined && { labels }),
      ...(this.#capacity !== undefined && { capacity: this.#capacity }),
      ...(version !== undefined && { version }),
    };
  }

  #onWelcome(running: Running, connection: Connection, { epoch, installationId }: Welcome): void {
    const { directory, intake, link } = running;
    this.#options.observer?.onWelcome?.(epoch);
    if (directory.installationId === null) {
      intake.holdFor(this.#bind(directory, installationId));
    } else if (directory.installationId !== installationId) {
      running.moving = link.redialAfter(this.#moveTo(running, installationId));
      return;
    }
    running.workload.attach(connection);
  }

  async #bind(directory: JournalDirectory, installationId: string): Promise<void> {
    try {
      await directory.bind(installationId);
    } catch (err) {
      this.#logger.error({ err }, 'journal could not be bound to the installation');
    }
  }

  /** Another control plane answers at this address: what was done for the old one stays in its own journal. */
  async #moveTo(running: Running, installationId: string): Promise<void> {
    const { directory, intake } = running;
    this.#logger.warn(
      { from: directory.installationId, to: installationId },
      'this is another installation of the control plane: going on with a journal of its own',
    );
    try {
      await intake.idle();
      await running.workload.close(this.#settleMs, false);
      await directory.moveTo(installationId);
      running.workload = await this.#openWorkload(directory);
      running.workload.executor.resume();
    } catch (err) {
      this.#logger.error({ err }, 'journal of the installation could not be opened');
    }
  }

  /** The fence: `undefined` for what is not of the highest epoch, and for what cannot be read. */
  #readCurrent({ link }: Running, event: string, message: unknown): Frame | undefined {
    const reading = readFrame(event, message);
    if (reading.kind === 'frame') {
      if (reading.frame.epoch >= link.highestEpoch) return reading.frame;
      this.#noteStale(event);
      return undefined;
    }
    this.#counts.unknownFrames += 1;
    if (reading.kind === 'unknown') this.#logger.debug({ event }, 'unknown event ignored');
    else this.#logger.error({ event, problem: reading.problem }, 'frame cannot be read');
    return undefined;
  }

  #onFrame(received: { running: Running; connection: Connection; frame: Frame; ack: Ack }): void {
    const { running, connection, frame, ack } = received;
    const { intake, link, orphans } = running;
    // Not acknowledged, so it will be delivered again, to the process after this one.
    if (this.#stopping.signal.aborted) return;
    switch (frame.event) {
      case 'commands':
        intake.push({
          epoch: frame.epoch,
          commands: parseCommands(frame.commands, this.#logger),
          ack,
          isStale: () => link.current !== connection,
        });
        break;
      case 'resume':
        intake.push(() => {
          const { executor } = running.workload;
          const commandIds = frame.commands.map(({ commandId }) => commandId);
          ack({ commands: executor.describe(commandIds) });
        });
        break;
      case 'cancel':
        intake.push(() => running.workload.executor.cancel(frame.commandIds));
        break;
      case 'inventory':
        void this.#takeInventory(running, ack);
        break;
      case 'orphans':
        orphans.noteOrphans(frame.sessionIds);
        break;
      case 'request':
        void this.#answer(frame, ack);
        break;
      case 'move':
        link.move(frame.withinMs);
        break;
    }
  }

  async #takeInventory({ orphans }: Running, ack: Ack): Promise<void> {
    let answer: InventoryAnswer;
    try {
      answer = await this.#options.runtime.inventory();
    } catch (err) {
      this.#logger.error({ err }, 'inventory could not be taken');
      answer = { complete: false, sessions: [] };
    }
    orphans.noteInventory(answer);
    ack(answer);
  }

  async #answer(frame: Frame & { event: 'request' }, ack: Ack): Promise<void> {
    const handlers = { ...builtInRequests(this.#clock), ...this.#options.requests };
    ack(await answerRequest(handlers, frame, this.#logger));
  }

  #noteStale(event: string): void {
    this.#counts.staleFrames += 1;
    this.#logger.debug({ event }, 'frame of an older connection ignored');
  }
}
