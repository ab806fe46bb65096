import type { Response } from 'express';
import type { Redis } from 'ioredis';
import type { Principal } from '../access/principal.ts';
import type { EventFeed, FeedListener, FeedPosition } from './event-feed.ts';
import { compareStreamIds, formatEventId, parseEventId, type EventId } from './event-id.ts';
import { isBeforeHistory, type EventLog, type LogEntry, type LoggedEvent } from './event-log.ts';

export interface EventClientOptions {
  readonly response: Response;
  readonly principal: Principal;
  readonly types: ReadonlySet<string> | undefined;
  /** What the client said it has seen, valid or not; `undefined`: it begins now. */
  readonly lastEventId: string | undefined;
  readonly feed: EventFeed;
  readonly log: EventLog;
  /** For history; fails at once while Redis is away. */
  readonly redis: Redis;
  readonly onSlow: () => void;
}

/** What may wait in this process for a client that does not read. */
const MAX_UNREAD_BYTES = 1_048_576;
/** Entries that arrive while a client is still being given its history. */
const MAX_HELD_ENTRIES = 10_000;
const CLIENT_RETRY_MS = 2000;
/** While Redis is away the stream begins without being joined, and with a reset once it is. */
const JOIN_WITHIN_MS = 1000;

/**
 * One open event stream:
 *
 *     waiting -(the feed is joined)-> catching up -(history sent)-> live
 *
 * While it catches up, what the feed brings is held back, so history and present join without a gap
 * and without a repeat: entries at or before the last one sent are skipped.
 */
export class EventClient implements FeedListener {
  readonly #options: EventClientOptions;
  #state: 'waiting' | 'catching up' | 'live' | 'closed' = 'waiting';
  #seen: EventId | undefined;
  #lateness: NodeJS.Timeout | undefined;
  #isLate = false;
  #held: { readonly generation: string; readonly entry: LogEntry }[] = [];

  constructor(options: EventClientOptions) {
    this.#options = options;
  }

  open(): void {
    const { response, feed } = this.#options;
    response.status(200).set({
      'Content-Type': 'text/event-stream; charset=utf-8',
      'Cache-Control': 'no-store, no-transform',
      'X-Accel-Buffering': 'no',
    });
    response.once('close', () => this.close());
    // A client loads what there is once the stream has begun: by then it must miss nothing.
    this.#lateness = setTimeout(() => this.#begin(true), JOIN_WITHIN_MS);
    feed.join(this);
  }

  close(): void {
    if (this.#state === 'closed') return;
    this.#state = 'closed';
    clearTimeout(this.#lateness);
    this.#held = [];
    this.#options.feed.leave(this);
    this.#options.response.end();
  }

  /** Keeps the connection, and moves the client's id on past what it does not see. */
  keepAlive(): void {
    const { position } = this.#options.feed;
    if (this.#state === 'live' && position) this.#moveTo(position);
    else this.#write(': waiting\n\n');
  }

  onJoined(position: FeedPosition): void {
    if (this.#state !== 'waiting') return;
    this.#begin(false);
    this.#state = 'catching up';
    void this.#catchUp(position);
  }

  onEntry(generation: string, entry: LogEntry): void {
    if (this.#state === 'live') this.#send(generation, entry);
    else if (this.#state === 'catching up') {
      this.#held.push({ generation, entry });
      if (this.#held.length > MAX_HELD_ENTRIES) this.#drop();
    }
  }

  onReset(position: FeedPosition): void {
    if (this.#state === 'closed' || this.#state === 'waiting') return;
    this.#held = [];
    this.#reset(position);
  }

  #begin(isLate: boolean): void {
    clearTimeout(this.#lateness);
    const { response } = this.#options;
    if (response.headersSent) return;
    this.#isLate = isLate;
    response.flushHeaders();
    response.write(`retry: ${CLIENT_RETRY_MS}\n\n`);
  }

  async #catchUp(position: FeedPosition): Promise<void> {
    const { lastEventId } = this.#options;
    if (lastEventId === undefined && !this.#isLate) this.#moveTo(position);
    else if (!(await this.#sendHistory(lastEventId ?? '', position))) this.#reset(position);
    if (this.#state !== 'catching up') return;
    this.#state = 'live';
    for (const { generation, entry } of this.#held) this.#send(generation, entry);
    this.#held = [];
  }

  /** False: what the client has missed is not all there any more. */
  async #sendHistory(lastEventId: string, position: FeedPosition): Promise<boolean> {
    const { log, redis } = this.#options;
    const last = parseEventId(lastEventId);
    if (!last || last.generation !== position.generation) return false;
    try {
      const end = await log.end(redis);
      if (compareStreamIds(last.streamId, end.lastId) > 0 || isBeforeHistory(last.streamId, end))
        return false;
      this.#seen = last;
      // An entry of which it has seen a part is read again.
      for await (const entry of log.read(redis, last.streamId, last.index !== undefined)) {
        if (this.#state !== 'catching up') return true;
        this.#send(position.generation, entry);
      }
      // What was removed while it was read may have been removed unread.
      return (
        (await log.generation(redis)) === position.generation &&
        !isBeforeHistory(this.#seen.streamId, await log.end(redis))
      );
    } catch {
      return false;
    }
  }

  #send(generation: string, entry: LogEntry): void {
    const { streamId } = entry;
    const seen = this.#seen?.generation === generation ? this.#seen : undefined;
    const order = seen ? compareStreamIds(streamId, seen.streamId) : 1;
    if (order < 0 || (order === 0 && seen?.index === undefined)) return;
    if (entry.kind === 'gap') {
      this.#reset({ generation, streamId });
      return;
    }
    const firstUnseen = order === 0 ? (seen?.index ?? -1) + 1 : 0;
    entry.events.forEach((event, index) => {
      if (index < firstUnseen || !this.#isFor(event)) return;
      const isLast = index === entry.events.length - 1;
      const id = { generation, streamId, index: isLast ? undefined : index };
      this.#write(`id: ${formatEventId(id)}\nevent: ${event.type}\ndata: ${event.json}\n\n`);
    });
    this.#seen = { generation, streamId, index: undefined };
  }

  #isFor({ type, userId }: LoggedEvent): boolean {
    const { principal, types } = this.#options;
    if (types && !types.has(type)) return false;
    return principal.role !== 'user' || userId === principal.userId;
  }

  #reset(position: FeedPosition): void {
    this.#seen = { ...position, index: undefined };
    this.#write(`id: ${formatEventId(this.#seen)}\nevent: reset\ndata: {}\n\n`);
  }

  /** An id without an event: the client begins here when it comes back. */
  #moveTo(position: FeedPosition): void {
    this.#seen = { ...position, index: undefined };
    this.#write(`: here\nid: ${formatEventId(this.#seen)}\n\n`);
  }

  #write(text: string): void {
    if (this.#state === 'closed') return;
    const { response } = this.#options;
    response.write(text);
    if (response.writableLength > MAX_UNREAD_BYTES) this.#drop();
  }

  #drop(): void {
    this.#options.onSlow();
    this.#options.response.destroy();
    this.close();
  }
}
