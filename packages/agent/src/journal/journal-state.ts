import {
  startPayloadSchema,
  type Outcome,
  type StartPayload,
  type WireCommand,
} from '@streamspace/protocol';
import type { JournalEntry } from './entry.ts';

/** How long a confirmed outcome still answers repeats. */
const KEEP_CONFIRMED_MS = 24 * 3_600_000;
const KEEP_CONFIRMED_MAX = 10_000;
/** Tombstones of sessions that are gone; the control plane’s own copy lasts (it sends nothing that was superseded). */
const KEEP_GONE_MS = 24 * 3_600_000;
const KEEP_GONE_MAX = 10_000;

export interface HeldRecord {
  readonly state: 'held';
  readonly command: WireCommand;
  /** The starts of the process that began it and did not let go of it. */
  readonly begunBoots: ReadonlySet<number>;
}

export interface EndedRecord {
  readonly state: 'ended';
  readonly commandId: string;
  readonly attempt: number;
  readonly sessionId: string | null;
  readonly outcome: Outcome;
  readonly endedAt: number;
  readonly confirmedAt: number | null;
}

export type CommandRecord = HeldRecord | EndedRecord;

export interface SessionRecord {
  readonly sessionId: string;
  /** The generation that was applied last, and by which command. */
  readonly generation: number;
  readonly commandId: string;
  readonly spec?: StartPayload | undefined;
  /** Stopped, or never came to be. */
  readonly isGone: boolean;
  readonly changedAt: number;
}

/** The journal's entries, added up. */
export class JournalState {
  journalId = '';
  boot = 0;
  readonly commands = new Map<string, CommandRecord>();
  readonly sessions = new Map<string, SessionRecord>();

  apply(entry: JournalEntry): void {
    switch (entry.type) {
      case 'journal':
        this.journalId = entry.journalId;
        break;
      case 'boot':
        this.boot = entry.boot;
        break;
      case 'received':
        this.commands.set(entry.command.commandId, {
          state: 'held',
          command: entry.command,
          begunBoots: new Set(),
        });
        break;
      case 'begun':
        this.#begin(entry);
        break;
      case 'released':
        this.#release(entry);
        break;
      case 'ended':
        this.#end(entry);
        break;
      case 'confirmed':
        this.#confirm(entry);
        break;
      case 'settled':
        this.commands.set(entry.commandId, { ...entry, state: 'ended' });
        break;
      case 'session':
        this.sessions.set(entry.sessionId, entry);
        break;
    }
  }

  noteAttempt(commandId: string, attempt: number): void {
    const record = this.commands.get(commandId);
    if (record?.state === 'held' && record.command.attempt < attempt) {
      this.commands.set(commandId, { ...record, command: { ...record.command, attempt } });
    } else if (record?.state === 'ended' && record.attempt < attempt) {
      this.commands.set(commandId, { ...record, attempt });
    }
  }

  /** All that is worth keeping; what is not is dropped from memory as well. */
  snapshot(now: number): JournalEntry[] {
    this.#prune(now);
    return [
      { type: 'journal', version: 1, journalId: this.journalId },
      { type: 'boot', boot: this.boot },
      ...[...this.commands.values()].flatMap(toEntries),
      // After the commands: reading their `begun` must not undo what came later.
      ...[...this.sessions.values()].map((session) => ({ ...session, type: 'session' as const })),
    ];
  }

  #begin({ commandId, boot, at }: { commandId: string; boot: number; at: number }): void {
    const record = this.commands.get(commandId);
    if (record?.state !== 'held') return;
    this.commands.set(commandId, { ...record, begunBoots: new Set(record.begunBoots).add(boot) });
    const { sessionId, generation, action, payload } = record.command;
    if (sessionId === null) return;
    const before = this.sessions.get(sessionId);
    const spec = startPayloadSchema.safeParse(payload);
    this.sessions.set(sessionId, {
      sessionId,
      generation: Math.max(generation ?? 0, before?.generation ?? 0),
      commandId,
      spec: spec.success ? spec.data : before?.spec,
      isGone: action === 'stop_session',
      changedAt: at,
    });
  }

  #release({ commandId, boot }: { commandId: string; boot: number }): void {
    const record = this.commands.get(commandId);
    if (record?.state !== 'held') return;
    const begunBoots = new Set(record.begunBoots);
    begunBoots.delete(boot);
    this.commands.set(commandId, { ...record, begunBoots });
  }

  #end({ commandId, outcome, at }: { commandId: string; outcome: Outcome; at: number }): void {
    const record = this.commands.get(commandId);
    if (record?.state !== 'held') return;
    const { sessionId, attempt, action } = record.command;
    // Set again at its end: the map is then in the order in which commands ended.
    this.commands.delete(commandId);
    this.commands.set(commandId, {
      state: 'ended',
      commandId,
      attempt,
      sessionId,
      outcome,
      endedAt: at,
      confirmedAt: null,
    });
    const session = sessionId === null ? undefined : this.sessions.get(sessionId);
    if (session?.commandId !== commandId) return;
    const isGone =
      action === 'stop_session' || (action === 'start_session' && outcome.status !== 'completed');
    this.sessions.set(session.sessionId, {
      ...session,
      isGone,
      changedAt: at,
      // It may hold secrets in its environment, and nothing wakes what is gone.
      spec: isGone ? undefined : session.spec,
    });
  }

  #confirm({ commandId, at }: { commandId: string; at: number }): void {
    const record = this.commands.get(commandId);
    if (record?.state === 'ended') this.commands.set(commandId, { ...record, confirmedAt: at });
  }

  #prune(now: number): void {
    const confirmed = [...this.commands.values()].filter(
      (record) => record.state === 'ended' && record.confirmedAt !== null,
    );
    for (const [index, record] of confirmed.entries()) {
      if (record.state !== 'ended') continue;
      const isOld = now - (record.confirmedAt ?? now) > KEEP_CONFIRMED_MS;
      if (isOld || index < confirmed.length - KEEP_CONFIRMED_MAX) {
        this.commands.delete(record.commandId);
      }
    }
    const gone = [...this.sessions.values()]
      .filter(({ isGone }) => isGone)
      .toSorted((left, right) => left.changedAt - right.changedAt);
    for (const [index, { sessionId, changedAt }] of gone.entries()) {
      if (now - changedAt > KEEP_GONE_MS || index < gone.length - KEEP_GONE_MAX) {
        this.sessions.delete(sessionId);
      }
    }
  }
}

function toEntries(record: CommandRecord): JournalEntry[] {
  if (record.state === 'ended') return [{ ...record, type: 'settled' }];
  const { command, begunBoots } = record;
  return [
    { type: 'received', command },
    ...[...begunBoots].map((boot) => ({
      type: 'begun' as const,
      commandId: command.commandId,
      boot,
      at: 0,
    })),
  ];
}
