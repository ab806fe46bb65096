import {
  MAX_BATCH_BYTES,
  type Outcome,
  type ResumeAnswer,
  type WireCommand,
} from '@streamspace/protocol';
import { randomUUID } from 'node:crypto';
import type { Logger } from 'pino';
import { sleep, type Clock } from '../clock.ts';
import type { Journal } from '../journal/journal.ts';
import { agentCrashed, fitOutcome, superseded } from '../outcome.ts';
import { LEFT, type CommandRunner } from './command-runner.ts';
import { Lane, type Ending } from './lane.ts';

/** Found begun by this many earlier processes, a command is taken for what ended them. */
const CRASHES_BEFORE_GIVING_UP = 2;
/** Between commands that were begun when the process ended, so that the one that ends it again stands alone. */
const SUSPECT_INTERVAL_MS = 2000;
/** However many there are. */
const SUSPECTS_WITHIN_MS = 30_000;

const AGENT_LANE = '';

export interface ExecutedResult {
  readonly commandId: string;
  readonly sessionId: string | null;
  readonly attempt: number;
  readonly outcome: Outcome;
}

export interface ExecutorOptions {
  readonly journal: Journal;
  readonly runner: CommandRunner;
  readonly clock: Clock;
  readonly logger: Logger;
  /** The endings of one settlement come together and are sent together. */
  readonly onResults: (results: readonly ExecutedResult[]) => void;
}

/** Carries out what the journal holds: a lane for each session, and no lane waits for another one. */
export class Executor {
  readonly #options: ExecutorOptions;
  readonly #lanes = new Map<string, Lane>();
  readonly #crashed = new Set<string>();
  readonly #settling = new Set<Promise<void>>();
  readonly #stopping = new AbortController();
  readonly #orphans = new Set<string>();
  #resuming: Promise<void> | undefined;

  constructor(options: ExecutorOptions) {
    this.#options = options;
  }

  /** True while something is being done for the session, or waits. */
  isBusy(sessionId: string): boolean {
    return this.#lanes.has(sessionId);
  }

  /** Takes up what an earlier process left, and sends again what was not confirmed. */
  resume(): void {
    const { journal, onResults } = this.#options;
    const records = journal.records();
    onResults(
      records
        .filter((record) => record.state === 'ended')
        .filter(({ confirmedAt }) => confirmedAt === null),
    );
    const suspects = new Set<Lane>();
    for (const record of records) {
      if (record.state !== 'held') continue;
      const { command, begunBoots } = record;
      if (begunBoots.size >= CRASHES_BEFORE_GIVING_UP) this.#crashed.add(command.commandId);
      const lane = this.#laneOf(command, true);
      lane.add(command);
      if (begunBoots.size > 0) suspects.add(lane);
    }
    for (const lane of this.#lanes.values()) if (!suspects.has(lane)) lane.resume();
    this.#resuming = this.#resumeOneByOne([...suspects]);
  }

  /** What the journal has just taken in. */
  accept(commands: readonly WireCommand[]): void {
    for (const command of commands) this.#laneOf(command).add(command);
  }

  /** Sends the outcome again, or does nothing for what is still held. */
  repeat(command: WireCommand): void {
    const { journal, onResults } = this.#options;
    journal.noteAttempt(command.commandId, command.attempt);
    const record = journal.find(command.commandId);
    if (record?.state === 'ended') onResults([record]);
  }

  cancel(commandIds: readonly string[]): void {
    for (const commandId of commandIds) {
      const record = this.#options.journal.find(commandId);
      if (record?.state !== 'held') continue;
      this.#lanes.get(record.command.sessionId ?? AGENT_LANE)?.cancel(commandId);
    }
  }

  /**
   * What became of each. Outcomes that do not fit into one frame are sent as results instead, and
   * their commands called held: a frame that is too large would close the connection, again and again.
   */
  describe(commandIds: readonly string[]): ResumeAnswer['commands'] {
    const { journal, onResults } = this.#options;
    let outcomeBytes = 0;
    return commandIds.map((commandId) => {
      const record = journal.find(commandId);
      if (record === undefined) return { commandId, state: 'unknown' };
      if (record.state === 'held') return { commandId, state: 'held' };
      outcomeBytes += Buffer.byteLength(JSON.stringify(record.outcome));
      if (outcomeBytes <= MAX_BATCH_BYTES) {
        return { commandId, state: 'ended', outcome: record.outcome };
      }
      onResults([record]);
      return { commandId, state: 'held' };
    });
  }

  /** Removes a session that no command is about. Does nothing when one has come. */
  removeOrphan(sessionId: string, generation: number): void {
    if (this.#lanes.has(sessionId)) return;
    const command: WireCommand = {
      commandId: `orphan_${randomUUID()}`,
      attempt: 1,
      sessionId,
      generation,
      action: 'stop_session',
      payload: {},
    };
    this.#orphans.add(command.commandId);
    this.#laneOf(command).add(command);
  }

  /** Begins nothing more, gives what runs `settleMs`, aborts the rest, and resolves when nothing runs. */
  async stop(settleMs: number): Promise<void> {
    this.#stopping.abort();
    const settled = new AbortController();
    const brief = sleep(this.#options.clock, settleMs, settled.signal);
    await Promise.all([...this.#lanes.values()].map((lane) => lane.stop(brief)));
    settled.abort();
    await this.#resuming;
    await Promise.all(this.#settling);
  }

  #laneOf({ sessionId }: WireCommand, isPaused = false): Lane {
    const key = sessionId ?? AGENT_LANE;
    const known = this.#lanes.get(key);
    if (known) return known;
    const lane = new Lane(
      {
        settledWithoutRun: (command) => this.#settledWithoutRun(command),
        run: (command, controller) => this.#run(command, controller),
        settle: (endings) => this.#settle(endings),
        onIdle: () => this.#lanes.delete(key),
      },
      isPaused,
    );
    this.#lanes.set(key, lane);
    return lane;
  }

  /** One after the other, a moment apart at most: nobody waits behind a slow one. */
  async #resumeOneByOne(lanes: readonly Lane[]): Promise<void> {
    const { clock } = this.#options;
    const intervalMs = Math.min(SUSPECT_INTERVAL_MS, SUSPECTS_WITHIN_MS / lanes.length);
    for (const lane of lanes) {
      if (this.#stopping.signal.aborted) return;
      lane.resume();
      const isOver = new AbortController();
      const signal = AbortSignal.any([isOver.signal, this.#stopping.signal]);
      await Promise.race([lane.idle(), sleep(clock, intervalMs, signal)]);
      isOver.abort();
    }
  }

  /** The fence: a command runs only when its generation is higher than what was applied. */
  #settledWithoutRun(command: WireCommand): Outcome | undefined {
    const { commandId, sessionId, generation } = command;
    if (this.#crashed.delete(commandId)) return agentCrashed;
    if (sessionId === null || generation === null || this.#orphans.has(commandId)) return undefined;
    const applied = this.#options.journal.session(sessionId);
    if (applied === undefined || generation > applied.generation) return undefined;
    if (applied.commandId === commandId) return undefined; // begun before a restart
    if (generation < applied.generation) return superseded;
    const same = this.#options.journal.find(applied.commandId);
    return same?.state === 'ended' ? same.outcome : superseded;
  }

  async #run(command: WireCommand, controller: AbortController): Promise<Outcome | typeof LEFT> {
    const { journal, runner, logger } = this.#options;
    const { commandId } = command;
    if (this.#orphans.has(commandId)) return runner.run(command, controller);
    await journal
      .begin(commandId)
      .catch((err: unknown) => logger.error({ err, commandId }, 'journal could not be written'));
    const outcome = await runner.run(command, controller);
    if (outcome === LEFT) {
      await journal
        .release(commandId)
        .catch((err: unknown) => logger.error({ err, commandId }, 'journal could not be written'));
    }
    return outcome;
  }

  #settle(endings: readonly Ending[]): Promise<void> {
    const settling = this.#settleAll(endings).finally(() => this.#settling.delete(settling));
    this.#settling.add(settling);
    return settling;
  }

  async #settleAll(endings: readonly Ending[]): Promise<void> {
    const { journal, logger, onResults } = this.#options;
    const results = endings
      .filter(({ command }) => !this.#orphans.has(command.commandId))
      .map(({ command, outcome }) => ({ ...command, outcome: fitOutcome(outcome) }));
    try {
      await journal.end(results);
      await this.#forgetOrphans(endings);
    } catch (err) {
      // What happened is true all the same; after a restart the command is run again, which finds it done.
      logger.error({ err }, 'journal could not be written');
    }
    onResults(
      results.map((result) => {
        const record = journal.find(result.commandId);
        return record?.state === 'ended' ? record : result;
      }),
    );
    for (const { commandId, sessionId, action, outcome } of results) {
      logger.info(
        { commandId, sessionId, action, outcome: outcomeForLog(outcome) },
        'command ended',
      );
    }
  }

  async #forgetOrphans(endings: readonly Ending[]): Promise<void> {
    for (const { command } of endings) {
      const { commandId, sessionId } = command;
      if (sessionId === null || !this.#orphans.delete(commandId)) continue;
      const generation = this.#options.journal.session(sessionId)?.generation ?? 0;
      this.#options.logger.warn({ sessionId }, 'orphaned session was removed');
      await this.#options.journal.forget({ sessionId, generation, commandId });
    }
  }
}

/** Without the result, which may hold anything. */
function outcomeForLog({ status, errorCode, errorMessage }: Outcome): Outcome {
  return { status, ...(errorCode != null && { errorCode, errorMessage }) };
}
