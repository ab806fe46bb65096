import type { Hello, Welcome } from '@streamspace/protocol';
import type { Logger } from 'pino';
import { Backoff } from '../backoff.ts';
import type { Clock } from '../clock.ts';
import { adviceFor } from './advice.ts';
import { Connection, type Ack, type ConnectionEnd } from './connection.ts';

/** A connection that lasted this long after its welcome ends the row of failures. */
const STABLE_AFTER_MS = 30_000;

export type LinkState = 'disconnected' | 'connecting' | 'connected';

export interface LinkOptions {
  readonly url: string;
  /** Made afresh for each dial. */
  readonly hello: (highestEpoch: number) => Hello;
  readonly clock: Clock;
  readonly random: () => number;
  readonly logger: Logger;
  /** The fence has moved: from now on only this connection counts. */
  readonly onWelcome: (connection: Connection, welcome: Welcome) => void;
  /** Frames of the current connection only. */
  readonly onFrame: (connection: Connection, event: string, message: unknown, ack: Ack) => void;
  readonly onLost: () => void;
  readonly onStateChange: (state: LinkState) => void;
  readonly onStale: (event: string) => void;
}

/**
 * Keeps one welcomed connection, for ever:
 *
 *     dial --welcome--> current --lost--> wait (full jitter) --> dial
 *       \--refused, silent--> wait (full jitter, at least what the server asks) --> dial
 *     current --move--> wait (random within the window) --> dial; the old one serves until the new welcome
 *
 * There is at most one dial at a time. The epoch of the newest welcome is the fence: what older
 * connections still bring is dropped from that moment on.
 */
export class Link {
  readonly #options: LinkOptions;
  readonly #backoff: Backoff;
  #highestEpoch = 0;
  #current: Connection | undefined;
  #dialling: Connection | undefined;
  #callOffDial: (() => void) | undefined;
  #callOffStable: (() => void) | undefined;
  #state: LinkState = 'disconnected';
  #isStopped = false;

  constructor(options: LinkOptions) {
    this.#options = options;
    this.#backoff = new Backoff(options.random);
  }

  get highestEpoch(): number {
    return this.#highestEpoch;
  }

  get current(): Connection | undefined {
    return this.#current;
  }

  start(): void {
    this.#dial();
  }

  stop(): void {
    this.#isStopped = true;
    this.#callOffDial?.();
    this.#letGo();
    this.#dialling?.close();
    this.#dialling = undefined;
    this.#setState('disconnected');
  }

  /** Opens another connection at a random moment within the window; this one serves until that is welcomed. */
  move(withinMs: number): void {
    if (this.#dialling) return;
    const delayMs = this.#options.random() * withinMs;
    this.#options.logger.info({ delayMs }, 'asked to move to another connection');
    this.#dialAfter(delayMs);
  }

  /** Lets go of the connection, waits for `until`, and dials at once: what it says in its hello has changed. */
  async redialAfter(until: Promise<void>): Promise<void> {
    this.#callOffDial?.();
    this.#letGo();
    this.#options.onLost();
    this.#setState('disconnected');
    await until;
    if (!this.#isStopped && this.#current === undefined) this.#dialAfter(0);
  }

  #dial(): void {
    const { url, hello, clock } = this.#options;
    this.#callOffDial = undefined;
    if (this.#current === undefined) this.#setState('connecting');
    this.#dialling = new Connection({
      url,
      hello: hello(this.#highestEpoch),
      clock,
      listener: {
        onWelcome: (connection, welcome) => this.#onWelcome(connection, welcome),
        onFrame: (connection, event, message, ack) =>
          this.#onFrame({ connection, event, message, ack }),
        onEnd: (connection, end) => this.#onEnd(connection, end),
      },
    });
  }

  #dialAfter(delayMs: number): void {
    if (this.#isStopped) return;
    this.#callOffDial?.();
    this.#callOffDial = this.#options.clock.after(delayMs, () => this.#dial());
  }

  #onWelcome(connection: Connection, welcome: Welcome): void {
    const { logger, clock } = this.#options;
    this.#dialling = undefined;
    if (welcome.epoch < this.#highestEpoch) {
      connection.close();
      logger.error(
        { epoch: welcome.epoch, highestEpoch: this.#highestEpoch },
        'welcomed with an older epoch than before; trying again',
      );
      this.#dialAfter(this.#backoff.nextMs());
      return;
    }
    this.#letGo();
    this.#highestEpoch = welcome.epoch;
    this.#current = connection;
    this.#callOffStable = clock.after(STABLE_AFTER_MS, () => this.#backoff.reset());
    this.#setState('connected');
    logger.info({ ...welcome }, 'connected to the control plane');
    this.#options.onWelcome(connection, welcome);
  }

  #onFrame(frame: { connection: Connection; event: string; message: unknown; ack: Ack }): void {
    const { connection, event, message, ack } = frame;
    if (connection === this.#current) this.#options.onFrame(connection, event, message, ack);
    else this.#options.onStale(event);
  }

  #onEnd(connection: Connection, end: ConnectionEnd): void {
    if (connection !== this.#current && connection !== this.#dialling) return;
    if (connection === this.#dialling) this.#dialling = undefined;
    if (connection === this.#current) {
      this.#letGo();
      this.#setState('disconnected');
      this.#options.onLost();
      // A dial that is under way (a move, or a newer connection that took over) takes its place.
      if (this.#dialling) return;
    }
    const retryAfterMs = end.kind === 'refused' ? (end.refusal.retryAfterMs ?? 0) : 0;
    const delayMs = this.#backoff.nextMs(retryAfterMs);
    this.#logEnd(end, delayMs);
    this.#dialAfter(delayMs);
  }

  #letGo(): void {
    this.#callOffStable?.();
    this.#callOffStable = undefined;
    this.#current?.close();
    this.#current = undefined;
  }

  #logEnd(end: ConnectionEnd, delayMs: number): void {
    const { logger } = this.#options;
    const retryInMs = Math.round(delayMs);
    switch (end.kind) {
      case 'refused': {
        const { code, message } = end.refusal;
        logger.error({ code, refusal: message, retryInMs }, `refused: ${adviceFor(code)}`);
        break;
      }
      case 'unreachable':
        logger.warn({ reason: end.reason, retryInMs }, 'control plane cannot be reached');
        break;
      case 'lost':
        logger.warn(
          { reason: end.reason, closing: end.closing, retryInMs },
          end.closing === undefined ? 'connection lost' : `closed: ${adviceFor(end.closing)}`,
        );
        break;
    }
  }

  #setState(state: LinkState): void {
    if (this.#state === state) return;
    this.#state = state;
    this.#options.onStateChange(state);
  }
}
