import { readFileSync } from 'node:fs';

/** What Linux says of a process in `/proc/<pid>/stat`. */
export interface ProcStat {
  readonly pid: number;
  /** One letter; `Z` is a process that has ended and is not reaped yet. */
  readonly state: string;
  readonly parentPid: number;
  readonly groupId: number;
  readonly sessionId: number;
  /** Clock ticks since boot: with the pid it names a process for good, as pids are used again. */
  readonly startTime: string;
}

/** `undefined` where there is no such process (or no `/proc`). */
export function readProcStat(pid: number): ProcStat | undefined {
  let text: string;
  try {
    text = readFileSync(`/proc/${pid}/stat`, 'utf8');
  } catch {
    return undefined;
  }
  // The second field is the command's name in parentheses and may hold spaces and parentheses itself.
  const [state, parentPid, groupId, sessionId, ...rest] = text
    .slice(text.lastIndexOf(')') + 2)
    .split(' ');
  const startTime = rest[15]; // field 22
  if (state === undefined || startTime === undefined) return undefined;
  return {
    pid,
    state,
    parentPid: Number(parentPid),
    groupId: Number(groupId),
    sessionId: Number(sessionId),
    startTime,
  };
}

/** True while exactly this process, not another one with its pid, has not ended. */
export function isProcessAlive(pid: number, startTime: string): boolean {
  const stat = readProcStat(pid);
  return stat !== undefined && stat.state !== 'Z' && stat.startTime === startTime;
}
