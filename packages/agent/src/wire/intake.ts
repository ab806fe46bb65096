import { wireCommandSchema, type WireCommand } from '@streamspace/protocol';
import type { Logger } from 'pino';
import { z } from 'zod';
import type { Ack } from './connection.ts';

export interface CommandsFrame {
  readonly epoch: number;
  readonly commands: readonly WireCommand[];
  readonly ack: Ack;
  /** Asked once more when its turn has come: the fence may have moved meanwhile. */
  readonly isStale: () => boolean;
}

export interface IntakeOptions {
  /** It has passed the fence. */
  readonly onTaken: (frame: CommandsFrame) => void;
  /** Resolves when the commands are in the journal, on disk. */
  readonly journal: (commands: readonly WireCommand[]) => Promise<void>;
  readonly isKnown: (commandId: string) => boolean;
  readonly onAccepted: (commands: readonly WireCommand[]) => void;
  readonly onRepeated: (command: WireCommand) => void;
  readonly onStale: (event: string) => void;
  readonly logger: Logger;
}

type Job = CommandsFrame | (() => void);

/**
 * Takes frames in the order in which they came, so that a cancel or a resume never overtakes the
 * commands before it. `commands` frames that wait together are written to the journal together.
 */
export class Intake {
  readonly #options: IntakeOptions;
  readonly #jobs: Job[] = [];
  #working: Promise<void> = Promise.resolve();

  constructor(options: IntakeOptions) {
    this.#options = options;
  }

  /** Takes in nothing that comes after this before `ready` has resolved. */
  holdFor(ready: Promise<void>): void {
    this.#working = this.#working.then(() => ready);
  }

  push(job: Job): void {
    this.#jobs.push(job);
    if (this.#jobs.length > 1) return;
    this.#working = this.#working.then(() => this.#work());
  }

  /** Resolves when all that has been pushed is done. */
  async idle(): Promise<void> {
    await this.#working;
  }

  async #work(): Promise<void> {
    for (let job = this.#jobs[0]; job !== undefined; job = this.#jobs[0]) {
      if (typeof job === 'function') {
        job();
        this.#jobs.shift();
      } else {
        const end = this.#jobs.findIndex((other) => typeof other === 'function');
        const frames = this.#jobs
          .slice(0, end === -1 ? undefined : end)
          .filter((other) => typeof other !== 'function');
        await this.#takeIn(frames);
        this.#jobs.splice(0, frames.length);
      }
    }
  }

  async #takeIn(frames: readonly CommandsFrame[]): Promise<void> {
    const { journal, isKnown, onTaken, onAccepted, onRepeated, onStale, logger } = this.#options;
    const current = frames.filter((frame) => !frame.isStale());
    if (current.length < frames.length) onStale('commands');
    for (const frame of current) onTaken(frame);
    const fresh = new Map<string, WireCommand>();
    const repeated: WireCommand[] = [];
    for (const command of current.flatMap(({ commands }) => commands)) {
      const { commandId } = command;
      if (isKnown(commandId) || fresh.has(commandId)) repeated.push(command);
      else fresh.set(commandId, command);
    }
    try {
      if (fresh.size > 0) await journal([...fresh.values()]);
    } catch (err) {
      logger.error({ err }, 'journal could not be written: commands are not acknowledged');
      return;
    }
    for (const { commands, ack } of current) {
      ack({ acknowledged: commands.map(({ commandId }) => commandId) });
    }
    onAccepted([...fresh.values()]);
    for (const command of repeated) onRepeated(command);
  }
}

const identifiableSchema = z.object({
  commandId: z.string().min(1).max(255),
  attempt: z.int().min(1).catch(1),
});

/** An action that no agent knows: a command that cannot be read ends like any other. */
const UNREADABLE = 'unreadable';

/** Entries are read one by one. One that is no command but has an id becomes a command that fails. */
export function parseCommands(entries: readonly unknown[], logger: Logger): WireCommand[] {
  return entries.flatMap((entry) => {
    const command = wireCommandSchema.safeParse(entry);
    if (command.success) return [command.data];
    const known = identifiableSchema.safeParse(entry);
    logger.error({ problem: z.prettifyError(command.error) }, 'a command cannot be read');
    if (!known.success) return [];
    const blank = { sessionId: null, generation: null, action: UNREADABLE, payload: {} };
    return [{ ...known.data, ...blank }];
  });
}
