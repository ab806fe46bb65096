import { randomUUID } from 'node:crypto';
import { link, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { sleep, type Clock } from '../clock.ts';
import { hasErrorCode } from '../error-code.ts';
import { isProcessAlive, readProcStat } from '../proc-stat.ts';

/** How long a starting agent waits for the one before it, which may still be ending. */
const WAIT_MS = 10_000;
const POLL_MS = 200;

const holderSchema = z.object({ pid: z.int(), startTime: z.string(), token: z.string() });
type Holder = z.infer<typeof holderSchema>;

export class JournalLockedError extends Error {
  readonly code = 'journal_locked';
}

export interface DirectoryLock {
  release(): Promise<void>;
}

/**
 * One process a directory: the lock is a file with the pid and the start time of its holder, linked
 * into place, so that it is there whole or not at all. The lock of a process that has ended is taken
 * over. Throws `JournalLockedError` when the holder is still alive after 10 s.
 */
export async function lockDirectory(
  directory: string,
  clock: Clock,
  signal: AbortSignal,
): Promise<DirectoryLock> {
  const path = join(directory, 'lock');
  const own: Holder = {
    pid: process.pid,
    startTime: readProcStat(process.pid)?.startTime ?? '',
    token: randomUUID(),
  };
  const deadline = clock.now() + WAIT_MS;
  while (!(await tryLock(path, own))) {
    const holder = parseHolder(await readIfThere(path));
    if (clock.now() >= deadline || signal.aborted) {
      throw new JournalLockedError(
        `process ${holder?.pid ?? 'unknown'} uses the journal directory ${directory}; ` +
          'two agents need two directories (and two identities)',
      );
    }
    await sleep(clock, POLL_MS, signal);
  }
  return {
    async release() {
      const holder = parseHolder(await readIfThere(path));
      if (holder?.token === own.token) await rm(path, { force: true });
    },
  };
}

async function tryLock(path: string, own: Holder): Promise<boolean> {
  const before = await readIfThere(path);
  if (before !== undefined) {
    if (isHeld(before)) return false;
    if (!(await removeStale(path, before))) return false;
  }
  const temporary = `${path}.${own.token}`;
  await writeFile(temporary, JSON.stringify(own), { mode: 0o600 });
  try {
    await link(temporary, path);
    return true;
  } catch (error) {
    if (hasErrorCode(error, 'EEXIST')) return false;
    throw error;
  } finally {
    await rm(temporary, { force: true });
  }
}

/** Moves a dead holder's lock away; puts back what turns out to be another one's by now. */
async function removeStale(path: string, stale: string): Promise<boolean> {
  const aside = `${path}.${randomUUID()}`;
  try {
    await rename(path, aside);
    if ((await readIfThere(aside)) === stale) return true;
    await link(aside, path);
    return false;
  } catch {
    return false; // another process was faster
  } finally {
    await rm(aside, { force: true });
  }
}

function isHeld(text: string): boolean {
  const holder = parseHolder(text);
  return holder !== undefined && isProcessAlive(holder.pid, holder.startTime);
}

function parseHolder(text: string | undefined): Holder | undefined {
  try {
    return holderSchema.safeParse(JSON.parse(text ?? 'null')).data;
  } catch {
    return undefined;
  }
}

async function readIfThere(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch {
    return undefined;
  }
}
