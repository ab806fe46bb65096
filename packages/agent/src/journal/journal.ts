import type { Outcome, WireCommand } from '@streamspace/protocol';
import { randomUUID } from 'node:crypto';
import type { Logger } from 'pino';
import type { Clock } from '../clock.ts';
import { JournalFile } from './journal-file.ts';
import { JournalState, type CommandRecord, type SessionRecord } from './journal-state.ts';

const COMPACT_ABOVE_BYTES = 262_144;

export interface JournalOptions {
  readonly path: string;
  readonly clock: Clock;
  readonly logger: Logger;
}

/**
 * What this agent has received and what became of it, on disk. A command is here before it is
 * acknowledged, and its outcome before it is sent: so a repeat is recognised, whatever happened between.
 */
export class Journal {
  readonly #file: JournalFile;
  readonly #state: JournalState;
  readonly #clock: Clock;

  private constructor(file: JournalFile, state: JournalState, clock: Clock) {
    this.#file = file;
    this.#state = state;
    this.#clock = clock;
  }

  /** Opens or makes it, and counts this start of the process. Throws `JournalCorruptError`. */
  static async open({ path, clock, logger }: JournalOptions): Promise<Journal> {
    const state = new JournalState();
    const file = await JournalFile.open({
      path,
      apply: (entry) => state.apply(entry),
      snapshot: () => state.snapshot(clock.now()),
      compactAboveBytes: COMPACT_ABOVE_BYTES,
      onCompactionError: (err) => logger.error({ err, path }, 'journal could not be compacted'),
    });
    if (state.journalId === '') {
      await file.append([{ type: 'journal', version: 1, journalId: randomUUID() }]);
    }
    await file.append([{ type: 'boot', boot: state.boot + 1 }]);
    return new Journal(file, state, clock);
  }

  get journalId(): string {
    return this.#state.journalId;
  }

  get fsyncs(): number {
    return this.#file.fsyncs;
  }

  find(commandId: string): CommandRecord | undefined {
    return this.#state.commands.get(commandId);
  }

  session(sessionId: string): SessionRecord | undefined {
    return this.#state.sessions.get(sessionId);
  }

  /** Everything that is still here, oldest first. */
  records(): CommandRecord[] {
    return [...this.#state.commands.values()];
  }

  /** On the disk when it resolves: only then may they be acknowledged. */
  receive(commands: readonly WireCommand[]): Promise<void> {
    return this.#file.append(commands.map((command) => ({ type: 'received', command })));
  }

  /** Before the first effect, so that a command that kills the process is counted. */
  begin(commandId: string): Promise<void> {
    const { boot } = this.#state;
    return this.#file.append([{ type: 'begun', commandId, boot, at: this.#clock.now() }]);
  }

  /** This process lets go of a command in good order: its end is no crash. */
  release(commandId: string): Promise<void> {
    return this.#file.append([{ type: 'released', commandId, boot: this.#state.boot }]);
  }

  end(endings: readonly { commandId: string; outcome: Outcome }[]): Promise<void> {
    const at = this.#clock.now();
    return this.#file.append(
      endings.map(({ commandId, outcome }) => ({ type: 'ended', commandId, outcome, at })),
    );
  }

  confirm(commandIds: readonly string[]): Promise<void> {
    const at = this.#clock.now();
    return this.#file.append(commandIds.map((commandId) => ({ type: 'confirmed', commandId, at })));
  }

  /** A redelivery carries a higher attempt, and results say the latest one. */
  noteAttempt(commandId: string, attempt: number): void {
    this.#state.noteAttempt(commandId, attempt);
  }

  /** The session was removed without a command. */
  forget(session: { sessionId: string; generation: number; commandId: string }): Promise<void> {
    return this.#file.append([
      { ...session, type: 'session', isGone: true, changedAt: this.#clock.now() },
    ]);
  }

  close(): Promise<void> {
    return this.#file.close();
  }
}
