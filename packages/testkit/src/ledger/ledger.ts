import { closeSync, openSync, readFileSync, truncateSync, writeSync } from 'node:fs';
import { z } from 'zod';

export const ledgerActionSchema = z.enum(['start', 'stop', 'hibernate', 'wake']);
export type LedgerAction = z.infer<typeof ledgerActionSchema>;

const operationSchema = z.object({
  action: ledgerActionSchema,
  sessionId: z.string(),
  generation: z.int(),
  commandId: z.string(),
  /** The highest that the agent had been welcomed with; 0 before the first welcome of its process. */
  epoch: z.int(),
  /** Milliseconds since 1970, of the agent's clock. */
  at: z.number(),
  pid: z.int(),
});

/**
 * What happened at an agent, in order. An operation begins and ends; the one moment that it changed something is its
 * `effect`. The state of the sessions is nothing but the sum of the effects, so that a kill cannot part the two.
 */
export const ledgerEntrySchema = z.discriminatedUnion('kind', [
  operationSchema.extend({ kind: z.literal('begin') }),
  operationSchema.extend({ kind: z.literal('effect') }),
  operationSchema.extend({
    kind: z.literal('end'),
    outcome: z.enum(['done', 'aborted', 'failed']),
    reason: z.string().optional(),
  }),
  z.object({ kind: z.literal('link'), state: z.string(), epoch: z.int(), at: z.number() }),
  /** The fence has moved to this epoch. */
  z.object({ kind: z.literal('welcome'), epoch: z.int(), at: z.number(), pid: z.int() }),
  /** A `commands` frame that has passed the fence. */
  z.object({
    kind: z.literal('frame'),
    epoch: z.int(),
    commandIds: z.array(z.string()),
    at: z.number(),
    pid: z.int(),
  }),
]);
export type LedgerEntry = z.infer<typeof ledgerEntrySchema>;
export type LedgerOperation = z.infer<typeof operationSchema>;

export interface LedgerSession {
  readonly sessionId: string;
  readonly generation: number;
  readonly state: 'running' | 'hibernated';
}

/** The last line may be torn by a kill: it counts as never written. */
export function readLedger(path: string): LedgerEntry[] {
  return completeLines(path).map((line) => ledgerEntrySchema.parse(JSON.parse(line)));
}

function completeLines(path: string): string[] {
  let content: string;
  try {
    content = readFileSync(path, 'utf8');
  } catch {
    return [];
  }
  return content
    .slice(0, content.lastIndexOf('\n') + 1)
    .split('\n')
    .slice(0, -1);
}

export function sessionsOf(entries: readonly LedgerEntry[]): Map<string, LedgerSession> {
  const sessions = new Map<string, LedgerSession>();
  for (const entry of entries) if (entry.kind === 'effect') applyEffect(sessions, entry);
  return sessions;
}

export function applyEffect(
  sessions: Map<string, LedgerSession>,
  { action, sessionId, generation }: Pick<LedgerOperation, 'action' | 'sessionId' | 'generation'>,
): void {
  if (action === 'stop') sessions.delete(sessionId);
  else
    sessions.set(sessionId, {
      sessionId,
      generation,
      state: action === 'hibernate' ? 'hibernated' : 'running',
    });
}

/** Appends to the file: what `append` has returned from is there after a kill of the process, not of the machine. */
export class LedgerWriter {
  readonly #file: number;

  constructor(path: string) {
    const text = completeLines(path)
      .map((line) => `${line}\n`)
      .join('');
    this.#file = openSync(path, 'a');
    truncateSync(path, Buffer.byteLength(text));
  }

  append(entry: LedgerEntry): void {
    writeSync(this.#file, `${JSON.stringify(entry)}\n`);
  }

  close(): void {
    closeSync(this.#file);
  }
}
