import { readProcStat, type ProcStat } from '@streamspace/agent';
import { readdirSync, readFileSync } from 'node:fs';

/** A process that has not ended, with the environment that it was started with. */
export interface TableEntry extends ProcStat {
  readonly environment: ReadonlySet<string>;
}

/** `NAME=value` for each variable that must be there. */
export type Marker = readonly string[];

/** All processes of this machine. Environments of other users' processes read as empty. */
export function readProcessTable(): TableEntry[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((name) => {
      const stat = readProcStat(Number(name));
      if (stat === undefined || stat.state === 'Z') return [];
      return [{ ...stat, environment: readEnvironment(stat.pid) }];
    });
}

export function carries({ environment }: TableEntry, marker: Marker): boolean {
  return marker.every((variable) => environment.has(variable));
}

/** The value of a variable in a process's environment. */
export function variableOf({ environment }: TableEntry, name: string): string | undefined {
  for (const variable of environment) {
    if (variable.startsWith(`${name}=`)) return variable.slice(name.length + 1);
  }
  return undefined;
}

function readEnvironment(pid: number): ReadonlySet<string> {
  try {
    return new Set(readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0'));
  } catch {
    return new Set(); // ended meanwhile, or another user's
  }
}
