import { readProcStat } from '@streamspace/agent';
import { existsSync, readFileSync, rmSync } from 'node:fs';

/** Above what people and other software take, below where X's TCP ports (6000 + n) meet ours. */
const FIRST_DISPLAY = 100;
const DISPLAYS = 9000;

/** The number of an X display that no server has and that is not in `taken`. */
export function findFreeDisplay(taken: ReadonlySet<number>): number {
  const offset = Math.floor(Math.random() * DISPLAYS);
  for (let index = 0; index < DISPLAYS; index += 1) {
    const display = FIRST_DISPLAY + ((offset + index) % DISPLAYS);
    if (!taken.has(display) && !isInUse(display)) return display;
  }
  throw new Error('no free X display');
}

/** Removes what an X server that was killed has left, so that its display is free again. */
export function clearDisplay(display: number): void {
  const lock = `/tmp/.X${display}-lock`;
  if (!existsSync(lock)) return;
  const owner = readProcStat(Number(readFileSync(lock, 'utf8')));
  if (owner !== undefined && owner.state !== 'Z') return; // somebody else's by now
  rmSync(lock, { force: true });
  rmSync(`/tmp/.X11-unix/X${display}`, { force: true });
}

function isInUse(display: number): boolean {
  return existsSync(`/tmp/.X${display}-lock`) || existsSync(`/tmp/.X11-unix/X${display}`);
}
