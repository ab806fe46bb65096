import { randomBytes } from 'node:crypto';
import type { LiveEvent } from '@streamspace/protocol';
import type { Redis } from 'ioredis';
import { z } from 'zod';
import { compareStreamIds } from './event-id.ts';

/** One event as it is in the stream. Types that this version does not know pass through. */
export interface LoggedEvent {
  readonly type: string;
  readonly userId: string | null;
  readonly commandId: string | undefined;
  readonly json: string;
}

/** `gap`: events are missing before this; whoever reads it loads afresh. */
export type LogEntry = { readonly streamId: string } & (
  { readonly kind: 'events'; readonly events: readonly LoggedEvent[] } | { readonly kind: 'gap' }
);

export interface LogEnd {
  readonly lastId: string;
  /** The oldest entry that is left, where older ones were removed. */
  readonly trimmedBefore: string | undefined;
}

const MAX_ENTRIES = 10_000;
const PAGE = 500;
export const START = '0-0';

const loggedSchema = z.array(
  z.looseObject({
    type: z.string(),
    userId: z.string().nullable(),
    command: z.looseObject({ id: z.string() }).optional(),
  }),
);

/** The bounded history of live events: one Redis stream and, beside it, its generation. */
export class EventLog {
  readonly #key: string;
  readonly #generationKey: string;

  constructor(prefix: string) {
    this.#key = `${prefix}:events`;
    this.#generationKey = `${prefix}:events:generation`;
  }

  async add(redis: Redis, events: readonly LiveEvent[]): Promise<void> {
    await redis.xadd(this.#key, 'MAXLEN', '~', MAX_ENTRIES, '*', 'events', JSON.stringify(events));
  }

  async addGap(redis: Redis): Promise<void> {
    await redis.xadd(this.#key, 'MAXLEN', '~', MAX_ENTRIES, '*', 'gap', '1');
  }

  /** Another one means another stream, even where ids would fit. */
  async generation(redis: Redis): Promise<string> {
    const fresh = randomBytes(8).toString('hex');
    const known = await redis.set(this.#generationKey, fresh, 'NX', 'GET');
    return known ?? fresh;
  }

  async end(redis: Redis): Promise<LogEnd> {
    const info = await this.#info(redis);
    if (!info) return { lastId: START, trimmedBefore: undefined };
    const firstEntry = info.get('first-entry');
    const firstId: unknown = Array.isArray(firstEntry) ? firstEntry[0] : undefined;
    const isTrimmed = info.get('entries-added') !== info.get('length');
    return {
      lastId: String(info.get('last-generated-id')),
      trimmedBefore: isTrimmed && typeof firstId === 'string' ? firstId : undefined,
    };
  }

  /** What came after `position`, waiting up to `blockMs`; needs a connection of its own. */
  async waitForMore(
    redis: Redis,
    position: string,
    blockMs: number,
  ): Promise<{ readonly entries: readonly LogEntry[]; readonly mayHaveMore: boolean }> {
    const reply: unknown = await redis.xread(
      'COUNT',
      PAGE,
      'BLOCK',
      blockMs,
      'STREAMS',
      this.#key,
      position,
    );
    const [stream] = Array.isArray(reply) ? reply : [];
    const entries = toEntries(Array.isArray(stream) ? stream[1] : undefined);
    return { entries, mayHaveMore: entries.length === PAGE };
  }

  /** The entries after `after` (with `isInclusive`, from it on), page by page. */
  async *read(redis: Redis, after: string, isInclusive: boolean): AsyncGenerator<LogEntry> {
    let from = isInclusive ? after : `(${after}`;
    for (;;) {
      const entries = toEntries(await redis.xrange(this.#key, from, '+', 'COUNT', PAGE));
      yield* entries;
      const last = entries.at(-1);
      if (!last || entries.length < PAGE) return;
      from = `(${last.streamId}`;
    }
  }

  async #info(redis: Redis): Promise<ReadonlyMap<string, unknown> | undefined> {
    try {
      const reply: unknown = await redis.xinfo('STREAM', this.#key);
      return toFields(reply);
    } catch (error) {
      if (error instanceof Error && error.message.includes('no such key')) return undefined;
      throw error;
    }
  }
}

/** Whether what follows `id` may have been removed. */
export function isBeforeHistory(id: string, { trimmedBefore }: LogEnd): boolean {
  return trimmedBefore !== undefined && compareStreamIds(id, trimmedBefore) < 0;
}

function toEntries(reply: unknown): LogEntry[] {
  if (!Array.isArray(reply)) return [];
  return reply.flatMap((entry: unknown) => {
    if (!Array.isArray(entry) || typeof entry[0] !== 'string') return [];
    return [toEntry(entry[0], toFields(entry[1]))];
  });
}

/** What cannot be read is a gap. */
function toEntry(streamId: string, fields: ReadonlyMap<string, unknown>): LogEntry {
  const events = parseEvents(fields.get('events'));
  return events ? { kind: 'events', streamId, events } : { kind: 'gap', streamId };
}

function parseEvents(content: unknown): readonly LoggedEvent[] | undefined {
  if (typeof content !== 'string') return undefined;
  try {
    return loggedSchema.parse(JSON.parse(content)).map((event) => ({
      type: event.type,
      userId: event.userId,
      commandId: event.command?.id,
      json: JSON.stringify(event),
    }));
  } catch {
    return undefined;
  }
}

/** Names and values one after the other. */
function toFields(reply: unknown): ReadonlyMap<string, unknown> {
  const list: readonly unknown[] = Array.isArray(reply) ? reply : [];
  const fields = new Map<string, unknown>();
  for (let i = 0; i + 1 < list.length; i += 2) fields.set(String(list[i]), list[i + 1]);
  return fields;
}
