import { randomUUID } from 'node:crypto';
import { setMaxListeners } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import { type ClusterClient, UnexpectedAnswerError } from './cluster-client.ts';

export interface ClusterLoadOptions {
  /** One of them at random for every request; asked for each. */
  readonly clients: () => readonly ClusterClient[];
  /** Pins the nth session to the nth of these, round and round; otherwise the selector decides. */
  readonly agentIds?: readonly string[];
  readonly startsPerSecond: number;
  /** Each session is stopped after a random part of this. */
  readonly sessionLifeMs?: number;
  /** Tries a request that got no answer again through another client, under its idempotency key. */
  readonly retriesUnanswered?: boolean;
  readonly env?: Readonly<Record<string, string>>;
}

export interface LoadSummary {
  readonly requests: number;
  /** Requests that had no answer and were made again; only with `retriesUnanswered`. */
  readonly retried: number;
  /** Requests without an answer, and answers other than 2xx. */
  readonly failures: readonly string[];
  readonly sessionIds: readonly string[];
}

const SESSION_LIFE_MS = 1_500;
/** For a request that gets no answer from a replica that was frozen or cut off. */
const ANSWER_TIMEOUT_MS = 3_000;
const TRIES = 20;
const RETRY_AFTER_MS = 250;

/** Starts and stops sessions until it is stopped; it does not wait for an answer before it asks again. */
export class ClusterLoad {
  readonly #options: ClusterLoadOptions;
  readonly #stopping = new AbortController();
  readonly #working = new Set<Promise<void>>();
  readonly #failures: string[] = [];
  readonly #sessionIds: string[] = [];
  readonly #pacing: Promise<void>;
  #requests = 0;
  #retried = 0;
  #turn = 0;

  constructor(options: ClusterLoadOptions) {
    this.#options = options;
    // Every session that lives listens to it.
    setMaxListeners(0, this.#stopping.signal);
    this.#pacing = this.#pace();
  }

  get failures(): readonly string[] {
    return this.#failures;
  }

  /** Sessions that were accepted so far. */
  get sessionCount(): number {
    return this.#sessionIds.length;
  }

  /** Begins no more sessions, stops those that there are, and resolves when every request has been answered. */
  async stop(): Promise<LoadSummary> {
    this.#stopping.abort();
    await this.#pacing;
    await Promise.all(this.#working);
    return {
      requests: this.#requests,
      retried: this.#retried,
      failures: this.#failures,
      sessionIds: this.#sessionIds,
    };
  }

  async #pace(): Promise<void> {
    const { signal } = this.#stopping;
    const everyMs = 1_000 / this.#options.startsPerSecond;
    const startedAt = performance.now();
    for (let count = 1; !signal.aborted; count++) {
      const work = this.#liveOneSession();
      this.#working.add(work);
      void work.finally(() => this.#working.delete(work));
      await this.#sleep(startedAt + count * everyMs - performance.now());
    }
  }

  async #liveOneSession(): Promise<void> {
    const { agentIds, env, sessionLifeMs = SESSION_LIFE_MS } = this.#options;
    const agentId = agentIds?.[this.#turn++ % agentIds.length];
    const headers = { 'idempotency-key': randomUUID() };
    const session = {
      ...(agentId === undefined ? {} : { agentId }),
      ...(env === undefined ? {} : { env }),
    };
    const started = await this.#request('start', (client) =>
      client.createSession(session, headers, ANSWER_TIMEOUT_MS),
    );
    if (!started) return;
    this.#sessionIds.push(started.session.id);
    await this.#sleep(Math.random() * sessionLifeMs);
    await this.#request('stop', (client) =>
      client.stopSession(started.session.id, ANSWER_TIMEOUT_MS),
    );
  }

  async #request<T>(
    what: string,
    send: (client: ClusterClient) => Promise<T>,
  ): Promise<T | undefined> {
    this.#requests += 1;
    for (let tries = 1; ; tries++) {
      try {
        return await send(this.#pick());
      } catch (error) {
        const hasAnswer = error instanceof UnexpectedAnswerError;
        if (hasAnswer || this.#options.retriesUnanswered !== true || tries === TRIES) {
          this.#failures.push(`${what}: ${describe(error)}`);
          return undefined;
        }
        this.#retried += 1;
        await delay(RETRY_AFTER_MS);
      }
    }
  }

  #pick(): ClusterClient {
    const clients = this.#options.clients();
    const client = clients[Math.floor(Math.random() * clients.length)];
    if (!client) throw new Error('there is nobody to ask');
    return client;
  }

  async #sleep(ms: number): Promise<void> {
    await delay(Math.max(0, ms), undefined, { signal: this.#stopping.signal }).catch(
      () => undefined,
    );
  }
}

function describe(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.cause === undefined ? error.message : `${error.message} (${describe(error.cause)})`;
}
