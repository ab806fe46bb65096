import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

/** A pid alone is reused by the system; together with its start it names one process for good. */
export interface ProcessIdentity {
  readonly pid: number;
  /** Opaque: only equality means something. */
  readonly startedAt: string;
}

// Positions in /proc/<pid>/stat counted after the command's closing parenthesis (proc_pid_stat(5), fields 3 and 22).
const STATE_FIELD = 0;
const START_TIME_FIELD = 19;

function linuxStart(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    if (fields[STATE_FIELD] === 'Z') return undefined;
    const bootId = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
    return `${bootId}:${fields[START_TIME_FIELD]}`;
  } catch {
    return undefined;
  }
}

function portableStart(pid: number): string | undefined {
  const { status, stdout } = spawnSync('ps', ['-o', 'lstart=', '-p', String(pid)], {
    encoding: 'utf8',
  });
  const start = status === 0 ? stdout.trim() : '';
  return start === '' ? undefined : start;
}

/** `undefined` when there is no such process, or only its zombie. */
export function identifyProcess(pid: number): ProcessIdentity | undefined {
  const startedAt = process.platform === 'linux' ? linuxStart(pid) : portableStart(pid);
  return startedAt === undefined ? undefined : { pid, startedAt };
}

/** Whether this very process is alive, and not another one that was given its pid. */
export function isRunning(identity: ProcessIdentity): boolean {
  return identifyProcess(identity.pid)?.startedAt === identity.startedAt;
}
