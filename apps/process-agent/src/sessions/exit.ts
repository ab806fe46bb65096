import { open } from 'node:fs/promises';

/** How a session's process ended; null where nobody of ours was there to see it. */
export type Exit = { readonly code: number | null; readonly signal: string | null } | null;

const TAIL_BYTES = 4096;
const MAX_LINE_CHARACTERS = 500;

/** One sentence for people. */
export async function describeExit(exit: Exit, logPath: string): Promise<string> {
  const line = await lastLineOf(logPath);
  const log = line === undefined ? 'its log is empty' : `last line of its log: ${line}`;
  return `The session's process ${howItEnded(exit)}; ${log}`;
}

function howItEnded(exit: Exit): string {
  if (exit === null) return 'ended while the agent was away, so its exit code is not known';
  if (exit.signal !== null) return `was ended by ${exit.signal}`;
  return `ended with exit code ${exit.code}`;
}

async function lastLineOf(path: string): Promise<string | undefined> {
  try {
    const handle = await open(path, 'r');
    try {
      const { size } = await handle.stat();
      const start = Math.max(0, size - TAIL_BYTES);
      const { buffer, bytesRead } = await handle.read({
        buffer: Buffer.alloc(TAIL_BYTES),
        position: start,
      });
      const lines = buffer.toString('utf8', 0, bytesRead).split('\n');
      return lines.findLast((line) => line.trim() !== '')?.slice(0, MAX_LINE_CHARACTERS);
    } finally {
      await handle.close();
    }
  } catch {
    return undefined;
  }
}
