import { isProcessAlive, sleep, systemClock } from '@streamspace/agent';
import { carries, readProcessTable, type Marker, type TableEntry } from './process-table.ts';

/** What a process has to clean up after SIGTERM. */
const TERMINATE_WITHIN_MS = 5000;
/** SIGKILL takes effect at once but for a process in an uninterruptible wait (a dead NFS server). */
const KILL_WITHIN_MS = 5000;
const POLL_MS = 10;
/** The whole process table costs some milliseconds: looked through less often than the known ones. */
const SCAN_EVERY_MS = 250;

export interface ProcessName {
  readonly pid: number;
  readonly startTime: string;
}

export interface ProcessTreeOptions {
  /** In the environment of whatever belongs to the tree. */
  readonly marker: Marker;
  /** The leader of the process group, if it is known, alive or not. */
  readonly leader: ProcessName | undefined;
  /** The leader has just ended under our eyes: its group cannot be another one's yet. */
  readonly isGroupOwn?: boolean;
}

/**
 * All processes of a session: those that carry its marker, wherever they have gone, the leader's
 * process group and session, and the descendants of all of these. Once seen they are followed by pid
 * and start time, so that one that loses its parent is not lost.
 */
export class ProcessTree {
  readonly #options: ProcessTreeOptions;
  readonly #seen = new Map<string, ProcessName>();

  constructor(options: ProcessTreeOptions) {
    this.#options = options;
  }

  /** Ends all of them, first in good order and then not, and resolves when none is left. Throws when one is. */
  async end(): Promise<void> {
    if (await this.#signalUntilGone('SIGTERM', TERMINATE_WITHIN_MS)) return;
    if (await this.#signalUntilGone('SIGKILL', KILL_WITHIN_MS)) return;
    const pids = this.#find().map(({ pid }) => pid);
    if (pids.length > 0) throw new Error(`processes do not end: ${pids.join(', ')}`);
  }

  async #signalUntilGone(signal: NodeJS.Signals, withinMs: number): Promise<boolean> {
    const deadline = performance.now() + withinMs;
    const signalled = new Set<number>();
    for (;;) {
      const members = this.#find();
      if (members.length === 0) return true;
      if (performance.now() > deadline) return false;
      for (const { pid } of members) {
        // SIGTERM once for each; what is forked meanwhile gets its own.
        if (signal === 'SIGKILL' || !signalled.has(pid)) send(pid, signal);
        signalled.add(pid);
      }
      await this.#untilGone(SCAN_EVERY_MS);
    }
  }

  /** Waits for those that are known; whether they left others behind is for the next scan. */
  async #untilGone(withinMs: number): Promise<void> {
    const deadline = performance.now() + withinMs;
    while (this.#alive().length > 0 && performance.now() < deadline) {
      await sleep(systemClock, POLL_MS, new AbortController().signal);
    }
  }

  #alive(): readonly ProcessName[] {
    return [...this.#seen.values()].filter(({ pid, startTime }) => isProcessAlive(pid, startTime));
  }

  #find(): readonly ProcessName[] {
    const table = readProcessTable();
    for (const entry of withDescendants(table, this.#memberTest(table))) {
      this.#seen.set(`${entry.pid}/${entry.startTime}`, entry);
    }
    return this.#alive();
  }

  #memberTest(table: readonly TableEntry[]): (entry: TableEntry) => boolean {
    const { marker, leader, isGroupOwn = false } = this.#options;
    const group = leader?.pid;
    // A group that somebody else's process got the number of is not ours.
    const ownsGroup =
      leader !== undefined &&
      (isGroupOwn ||
        isProcessAlive(leader.pid, leader.startTime) ||
        table.some((entry) => entry.groupId === group && carries(entry, marker)));
    return (entry) =>
      carries(entry, marker) ||
      (ownsGroup && (entry.groupId === group || entry.sessionId === group));
  }
}

function withDescendants(
  table: readonly TableEntry[],
  isMember: (entry: TableEntry) => boolean,
): TableEntry[] {
  const children = new Map<number, TableEntry[]>();
  for (const entry of table) {
    const siblings = children.get(entry.parentPid);
    if (siblings) siblings.push(entry);
    else children.set(entry.parentPid, [entry]);
  }
  const members = new Set(table.filter(isMember));
  // A set is iterated over what is added meanwhile, too.
  for (const member of members) {
    for (const child of children.get(member.pid) ?? []) members.add(child);
  }
  return [...members];
}

function send(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // It has ended meanwhile.
  }
}
