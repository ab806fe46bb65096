import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { readOptionalFile } from './secret-file.ts';

/**
 * Kills the processes of a process agent's sessions without the agent: each carries the id of the agent's data directory
 * in its environment. Linux only; elsewhere it finds none. Returns how many there were.
 */
export function killSessionProcesses(agentDataDir: string): number {
  const runtimeId = readOptionalFile(join(agentDataDir, 'runtime-id'))?.trim();
  if (runtimeId === undefined || runtimeId === '') return 0;
  const marker = `STREAMSPACE_RUNTIME=${runtimeId}`;
  const pids = processIds().filter((pid) => environmentOf(pid).includes(marker));
  for (const pid of pids) {
    try {
      process.kill(pid, 'SIGKILL');
    } catch {
      // It ended meanwhile.
    }
  }
  return pids.length;
}

function processIds(): number[] {
  try {
    return readdirSync('/proc')
      .filter((name) => /^\d+$/.test(name))
      .map(Number);
  } catch {
    return [];
  }
}

function environmentOf(pid: number): string[] {
  try {
    return readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0');
  } catch {
    return [];
  }
}
