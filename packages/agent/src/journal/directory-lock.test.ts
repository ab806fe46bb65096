import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '../clock.ts';
import { readProcStat } from '../proc-stat.ts';
import { lockDirectory } from './directory-lock.ts';

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'lock-test-'));
});
afterEach(() => rm(directory, { recursive: true }));

const never = new AbortController().signal;

async function writeLock(pid: number, startTime: string): Promise<void> {
  await writeFile(join(directory, 'lock'), JSON.stringify({ pid, startTime, token: 'other' }));
}

test('a lock whose process has ended is taken over', async () => {
  const child = spawn('true');
  await once(child, 'exit');
  await writeLock(child.pid!, '1');
  const lock = await lockDirectory(directory, systemClock, never);
  expect(await readdir(directory)).toEqual(['lock']);
  await lock.release();
  expect(await readdir(directory)).toEqual([]);
});

test('a lock whose pid belongs to another process by now is taken over', async () => {
  await writeLock(process.pid, '1');
  await (await lockDirectory(directory, systemClock, never)).release();
  expect(await readdir(directory)).toEqual([]);
});

test('a lock of a living process is waited for', async () => {
  const child = spawn('sleep', ['30']);
  await once(child, 'spawn');
  await writeLock(child.pid!, readProcStat(child.pid!)!.startTime);
  const locked = lockDirectory(directory, systemClock, never);
  const ended = once(child, 'exit');
  child.kill();
  await ended;
  await (await locked).release();
  expect(await readdir(directory)).toEqual([]);
});

test('many that come at once for a dead holder’s lock get it one after the other', async () => {
  await writeLock(process.pid, '1');
  let holders = 0;
  let most = 0;
  await Promise.all(
    Array.from({ length: 8 }, async () => {
      const lock = await lockDirectory(directory, systemClock, never);
      holders += 1;
      most = Math.max(most, holders);
      await new Promise((resolve) => {
        setTimeout(resolve, 10);
      });
      holders -= 1;
      await lock.release();
    }),
  );
  expect(most).toBe(1);
});
