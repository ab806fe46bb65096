import type { LiveEventPublisher } from '@streamspace/commands';
import type { LiveEvent } from '@streamspace/protocol';
import type { Redis } from 'ioredis';
import type { Logger } from 'pino';
import { CommandWaiter } from './command-waiter.ts';
import { EventClient, type EventClientOptions } from './event-client.ts';
import { EventFeed } from './event-feed.ts';
import { EventLog } from './event-log.ts';
import { EventWriter } from './event-writer.ts';

export interface EventStreamOptions {
  /** Fails at once while Redis is away. */
  readonly redis: Redis;
  readonly connectReader: () => Redis;
  readonly prefix: string;
  readonly onLost: (count: number) => void;
  readonly onSlowClient: () => void;
  readonly logger: Logger;
}

export type StreamRequest = Pick<
  EventClientOptions,
  'response' | 'principal' | 'types' | 'lastEventId'
> & {
  /** Rejects when the client's token is no longer good; any other failure changes nothing. */
  readonly isStillAllowed: () => Promise<boolean>;
};

const KEEP_ALIVE_MS = 15_000;
const CHECK_ALLOWED_MS = 5000;

/**
 * Live events: every replica adds to one bounded Redis stream and reads it while it has clients. A
 * client that may have missed something is told to load afresh, never left with a gap.
 */
export class EventStream implements LiveEventPublisher {
  readonly waiter: CommandWaiter;
  readonly #options: EventStreamOptions;
  readonly #log: EventLog;
  readonly #writer: EventWriter;
  readonly #feed: EventFeed;
  readonly #clients = new Map<EventClient, StreamRequest>();
  #timers: NodeJS.Timeout[] = [];
  #isClosing = false;

  constructor(options: EventStreamOptions) {
    const { redis, prefix, connectReader, logger, onLost } = options;
    this.#options = options;
    this.#log = new EventLog(prefix);
    this.#writer = new EventWriter({ redis, log: this.#log, onLost });
    this.#feed = new EventFeed({ log: this.#log, connect: connectReader, logger });
    this.waiter = new CommandWaiter(this.#feed);
  }

  start(): void {
    this.#timers = [
      setInterval(() => {
        for (const client of this.#clients.keys()) client.keepAlive();
      }, KEEP_ALIVE_MS),
      setInterval(() => {
        for (const [client, request] of this.#clients) void endUnlessAllowed(client, request);
      }, CHECK_ALLOWED_MS),
    ];
  }

  publish(events: readonly LiveEvent[]): void {
    this.#writer.add(events);
    this.waiter.onPublished(events);
  }

  /** For who finds that a replica has vanished: what it had committed and not published is missing. */
  markGap(): void {
    this.#writer.markGap();
  }

  get clientCount(): number {
    return this.#clients.size;
  }

  open(request: StreamRequest): void {
    if (this.#isClosing) {
      request.response.set('Connection', 'close').type('text/event-stream').end();
      return;
    }
    const client = new EventClient({
      ...request,
      feed: this.#feed,
      log: this.#log,
      redis: this.#options.redis,
      onSlow: this.#options.onSlowClient,
    });
    this.#clients.set(client, request);
    request.response.once('close', () => this.#clients.delete(client));
    client.open();
  }

  /** Ends the streams and the waits, whose callers go on at another replica. */
  closeClients(): void {
    this.#isClosing = true;
    this.waiter.stop();
    for (const client of this.#clients.keys()) client.close();
  }

  async stop(): Promise<void> {
    for (const timer of this.#timers) clearInterval(timer);
    this.closeClients();
    await this.#feed.stop();
    await this.#writer.stop();
  }
}

async function endUnlessAllowed(client: EventClient, request: StreamRequest): Promise<void> {
  if (!(await request.isStillAllowed())) client.close();
}
