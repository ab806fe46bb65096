import { CommandError, isProcessAlive, readProcStat, sleep, systemClock } from '@streamspace/agent';
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import type { Exit } from './exit.ts';

/** How often a process that is not our child is looked at. */
const POLL_MS = 500;

export interface Leader {
  readonly pid: number;
  readonly startTime: string;
  /** Of the machine: pid and start time repeat after it was started again. */
  readonly bootId: string;
}

/** The leader of a session's process group, alive. */
export interface SessionProcess {
  readonly leader: Leader;
  /** Resolves when it has ended; null where it is not our child. Never rejects. */
  readonly exited: Promise<Exit>;
  /** Looks no longer. */
  release(): void;
}

export interface SpawnInput {
  readonly command: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
  readonly workingDirectory: string;
  readonly log: string;
}

/** Spawns the leader of a process group of its own. Throws `command_not_found`. */
export async function spawnSession(input: SpawnInput): Promise<SessionProcess> {
  const [program = '', ...parameters] = input.command;
  const log = await open(input.log, 'a', 0o600);
  try {
    const child = spawn(program, parameters, {
      cwd: input.workingDirectory,
      env: input.environment,
      stdio: ['ignore', log.fd, log.fd],
      // A session and a process group of its own: it outlives the agent, and ends as a whole.
      detached: true,
    });
    const exited = new Promise<Exit>((resolve) => {
      child.once('exit', (code, signal) => resolve({ code, signal }));
    });
    await new Promise<void>((resolve, reject) => {
      child.once('spawn', resolve);
      child.on('error', (cause) => reject(notFound(program, cause)));
    });
    child.unref();
    const pid = child.pid ?? -1;
    const startTime = readProcStat(pid)?.startTime ?? '';
    return { leader: { pid, startTime, bootId: readBootId() }, exited, release: () => {} };
  } finally {
    await log.close();
  }
}

/** A process that an earlier agent spawned; `undefined` when it is not there any more. */
export function adoptSession(leader: Leader): SessionProcess | undefined {
  if (!isLeaderAlive(leader)) return undefined;
  const released = new AbortController();
  return {
    leader,
    exited: untilGone(leader, released.signal),
    release: () => released.abort(),
  };
}

export function isLeaderAlive({ pid, startTime, bootId }: Leader): boolean {
  return bootId === readBootId() && isProcessAlive(pid, startTime);
}

export function readBootId(): string {
  return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
}

async function untilGone(leader: Leader, signal: AbortSignal): Promise<Exit> {
  while (isLeaderAlive(leader)) {
    if (signal.aborted) return new Promise(() => {}); // nobody asks any more
    await sleep(systemClock, POLL_MS, signal);
  }
  return null;
}

function notFound(program: string, cause: unknown): CommandError {
  const reason = cause instanceof Error ? cause.message : String(cause);
  return new CommandError(
    'command_not_found',
    `The template's command "${program}" cannot be run on this machine (${reason}).`,
    { cause },
  );
}
