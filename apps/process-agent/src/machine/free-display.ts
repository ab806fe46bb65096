import { existsSync } from 'node:fs';

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

function isInUse(display: number): boolean {
  return existsSync(`/tmp/.X${display}-lock`) || existsSync(`/tmp/.X11-unix/X${display}`);
}
