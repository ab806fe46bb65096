import { setTimeout as delay } from 'node:timers/promises';
import type { AgentHub } from '@streamspace/agent-hub';
import type { CommandDispatcher, GlobalSweep } from '@streamspace/commands';
import type { Logger } from 'pino';
import type { Authenticator } from './access/authenticator.ts';
import type { Config } from './config.ts';
import type { EventStream } from './events/event-stream.ts';
import type { Readiness } from './health/readiness.ts';
import type { HttpServer } from './http/http-server.ts';
import type { Route } from './http/route.ts';
import type { Stores } from './stores.ts';

export interface ReplicaParts {
  readonly config: Config;
  readonly logger: Logger;
  readonly stores: Stores;
  readonly readiness: Readiness;
  readonly events: EventStream;
  readonly authenticator: Authenticator;
  readonly publicServer: HttpServer;
  readonly internalServer: HttpServer | undefined;
  readonly hub: AgentHub;
  readonly dispatcher: CommandDispatcher;
  readonly globalSweep: GlobalSweep;
  readonly routes: readonly Route[];
}

/** What is left for requests that do not end by themselves. */
const FINISH_REQUESTS_MS = 10_000;

/**
 * A replica's life:
 *
 *     listening, not ready -> (the schema is there) -> ready
 *     stop: not ready -> the load balancer has seen it -> no new connections, event streams end,
 *           agents move, requests finish -> leases released -> over
 */
export class ReplicaProcess {
  readonly #parts: ReplicaParts;
  readonly #stopping = new AbortController();
  /** Aborted by a second request to stop: waits are cut short, nothing is left out. */
  readonly #hurry = new AbortController();
  #starting: Promise<void> = Promise.resolve();
  #stopped: Promise<void> | undefined;

  constructor(parts: ReplicaParts) {
    this.#parts = parts;
  }

  get port(): number {
    return this.#parts.publicServer.port;
  }

  get internalPort(): number | undefined {
    return this.#parts.internalServer?.port;
  }

  get isStopping(): boolean {
    return this.#stopped !== undefined;
  }

  get routes(): readonly Route[] {
    return this.#parts.routes;
  }

  get events(): EventStream {
    return this.#parts.events;
  }

  /** Resolves when it is ready; it answers /livez from the beginning. */
  start(): Promise<void> {
    this.#starting = this.#start();
    return this.#starting;
  }

  /** The second call hurries the first. */
  stop(): Promise<void> {
    if (this.#stopped) this.#hurry.abort();
    this.#stopped ??= this.#stop();
    return this.#stopped;
  }

  async #start(): Promise<void> {
    const { config, publicServer, internalServer, readiness, stores, logger } = this.#parts;
    const { host, port, internalPort } = config.http;
    await publicServer.listen(port, host);
    if (internalPort !== undefined) await internalServer?.listen(internalPort, host);
    logger.info({ host, port: publicServer.port }, 'listening');
    await readiness.waitForSchema(stores.db, this.#stopping.signal);
    const { authenticator, events, hub, dispatcher, globalSweep } = this.#parts;
    await authenticator.start();
    events.start();
    await hub.start(dispatcher);
    dispatcher.start();
    globalSweep.start();
    readiness.serve(() => hub.health);
    logger.info('ready');
  }

  async #stop(): Promise<void> {
    const { config, publicServer, readiness, events, hub, logger } = this.#parts;
    const wasServing = readiness.isStarted;
    readiness.drain();
    this.#stopping.abort();
    await this.#starting.catch(() => undefined);
    logger.info('stopping');
    if (wasServing) {
      await this.#wait(config.drain.delayMs);
      events.closeClients();
      publicServer.stopAccepting();
      const { windowMs } = config.drain;
      const drained = hub.drain({ windowMs, deadlineMs: windowMs * 2 });
      await Promise.race([drained, this.#hurried()]);
      await publicServer.finishRequests(FINISH_REQUESTS_MS, this.#hurry.signal);
    }
    await this.#release();
    logger.info('stopped');
  }

  /** In reverse order of the start. */
  async #release(): Promise<void> {
    const { globalSweep, dispatcher, hub, events, publicServer, internalServer, stores } =
      this.#parts;
    await globalSweep.stop();
    await dispatcher.stop();
    await hub.stop();
    await events.stop();
    publicServer.close();
    internalServer?.close();
    await stores.close();
  }

  async #wait(ms: number): Promise<void> {
    await delay(ms, undefined, { signal: this.#hurry.signal }).catch(() => undefined);
  }

  async #hurried(): Promise<void> {
    const { signal } = this.#hurry;
    if (signal.aborted) return;
    await new Promise<void>((resolve) => {
      signal.addEventListener('abort', () => resolve(), { once: true });
    });
  }
}
