import type { Outcome, WireCommand } from '@streamspace/protocol';
import { cancelled, predecessorFailed, superseded } from '../outcome.ts';
import { CommandAborted } from '../runtime.ts';
import { LEFT } from './command-runner.ts';

export interface Ending {
  readonly command: WireCommand;
  readonly outcome: Outcome;
}

/** What a lane needs of the agent around it. */
export interface LaneContext {
  /** The outcome of a command that must not be run (any more), or `undefined`. */
  readonly settledWithoutRun: (command: WireCommand) => Outcome | undefined;
  readonly run: (
    command: WireCommand,
    controller: AbortController,
  ) => Promise<Outcome | typeof LEFT>;
  /** Journals the endings together and hands them over to be sent together. */
  readonly settle: (endings: readonly Ending[]) => Promise<void>;
  readonly onIdle: () => void;
}

interface Running {
  readonly command: WireCommand;
  readonly controller: AbortController;
}

/**
 * The commands of one session: one at a time, in the order of their generations. A stop does not wait
 * for what it ends: it aborts what runs, takes the place of all that waits, and runs when the aborted
 * has settled. After a command that did not succeed nothing that waited behind it runs, a stop excepted.
 */
export class Lane {
  readonly #context: LaneContext;
  #waiting: WireCommand[] = [];
  #running: Running | undefined;
  #working: Promise<void> | undefined;
  #isPaused: boolean;
  #isStopping = false;

  constructor(context: LaneContext, isPaused = false) {
    this.#context = context;
    this.#isPaused = isPaused;
  }

  add(command: WireCommand): void {
    const ended = isStop(command) ? this.#supersede(command) : [];
    const place = this.#waiting.findIndex((other) => isBefore(command, other));
    this.#waiting.splice(place === -1 ? this.#waiting.length : place, 0, command);
    if (isStop(command)) this.#isPaused = false;
    this.#work(ended);
  }

  /** Lets a lane that was made paused begin. */
  resume(): void {
    this.#isPaused = false;
    this.#work([]);
  }

  /** Of a command that waits: it never runs, nor does what waits behind it. Of a running start or wake: aborts it. */
  cancel(commandId: string): void {
    if (this.#running?.command.commandId === commandId) {
      const { action } = this.#running.command;
      if (action === 'start_session' || action === 'wake_session') this.#abort('cancelled');
      return;
    }
    const place = this.#waiting.findIndex((command) => command.commandId === commandId);
    const command = this.#waiting[place];
    if (command === undefined || isStop(command)) return;
    const [, ...followers] = this.#waiting.splice(place);
    this.#waiting.push(...followers.filter(isStop));
    this.#work([
      { command, outcome: cancelled('cancelled', 'The command was cancelled before it ran.') },
      ...withoutStops(followers),
    ]);
  }

  /** Begins nothing more, aborts what still runs when `brief` is over, and resolves when it has settled. */
  async stop(brief: Promise<void>): Promise<void> {
    this.#isStopping = true;
    await Promise.race([this.#working, brief]);
    this.#abort('stopping');
    await this.#working;
  }

  /** Resolves when nothing runs (what waits in a paused lane does not count). */
  async idle(): Promise<void> {
    await this.#working;
  }

  #abort(reason: CommandAborted['reason']): void {
    this.#running?.controller.abort(new CommandAborted(reason));
  }

  #supersede(stop: WireCommand): Ending[] {
    const isEnded = (command: WireCommand): boolean =>
      !isStop(command) && generationOf(command, 0) <= generationOf(stop, Infinity);
    const ended = this.#waiting.filter(isEnded);
    this.#waiting = this.#waiting.filter((command) => !isEnded(command));
    if (this.#running && isEnded(this.#running.command)) this.#abort('superseded');
    return ended.map((command) => ({ command, outcome: superseded }));
  }

  #work(ended: readonly Ending[]): void {
    if (this.#working !== undefined) {
      // Settled at once rather than behind what runs now: nobody need wait for it.
      if (ended.length > 0) void this.#context.settle(ended);
      return;
    }
    const hasWork = this.#waiting.length > 0 && !this.#isPaused && !this.#isStopping;
    if (ended.length === 0 && !hasWork) return;
    this.#working = this.#drainAndRest(ended);
  }

  async #drainAndRest(ended: readonly Ending[]): Promise<void> {
    await this.#drain(ended);
    this.#working = undefined;
    if (this.#waiting.length === 0) this.#context.onIdle();
    else this.#work([]);
  }

  async #drain(ended: readonly Ending[]): Promise<void> {
    if (ended.length > 0) await this.#context.settle(ended);
    while (!this.#isPaused && !this.#isStopping) {
      const command = this.#waiting.shift();
      if (command === undefined) return;
      await this.#runOne(command);
    }
  }

  async #runOne(command: WireCommand): Promise<void> {
    const known = this.#context.settledWithoutRun(command);
    const outcome = known ?? (await this.#run(command));
    if (outcome === LEFT) return;
    const hasFailed = outcome.status !== 'completed' && outcome.errorCode !== 'superseded';
    const followers = hasFailed ? this.#waiting : [];
    if (hasFailed) this.#waiting = followers.filter(isStop);
    await this.#context.settle([{ command, outcome }, ...withoutStops(followers)]);
  }

  async #run(command: WireCommand): Promise<Outcome | typeof LEFT> {
    const controller = new AbortController();
    this.#running = { command, controller };
    try {
      return await this.#context.run(command, controller);
    } finally {
      this.#running = undefined;
    }
  }
}

export function isStop(command: WireCommand): boolean {
  return command.action === 'stop_session';
}

/** Generations come from upstream's rows without a number, too: those keep the place in which they came. */
function isBefore(command: WireCommand, other: WireCommand): boolean {
  return generationOf(command, Infinity) < generationOf(other, 0);
}

function generationOf({ generation }: WireCommand, otherwise: number): number {
  return generation ?? otherwise;
}

function withoutStops(followers: readonly WireCommand[]): Ending[] {
  return followers
    .filter((command) => !isStop(command))
    .map((command) => ({ command, outcome: predecessorFailed }));
}
