import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';

/** More than a load balancer keeps its idle connections, or it would use one that has just been closed. */
const KEEP_ALIVE_MS = 75_000;
/** For a whole request to arrive; answers may take as long as they like. */
const REQUEST_MS = 60_000;
const POLL_MS = 20;

/** An HTTP server that can be brought to an end without breaking a request. */
export class HttpServer {
  readonly server: Server;
  #openRequests = 0;
  #isEnding = false;

  constructor() {
    this.server = createServer({ keepAliveTimeout: KEEP_ALIVE_MS, requestTimeout: REQUEST_MS });
    this.server.headersTimeout = REQUEST_MS;
    this.server.on('request', (_request, response) => {
      this.#openRequests += 1;
      if (this.#isEnding) response.setHeader('Connection', 'close');
      response.once('close', () => {
        this.#openRequests -= 1;
      });
    });
  }

  async listen(port: number, host: string): Promise<void> {
    this.server.listen(port, host);
    await once(this.server, 'listening');
  }

  get port(): number {
    const address = this.server.address();
    if (address === null || typeof address === 'string') throw new Error('not listening');
    return address.port;
  }

  /** Takes no new connections, and tells those that are kept alive to go. */
  stopAccepting(): void {
    this.#isEnding = true;
    if (this.server.listening) this.server.close();
    this.server.closeIdleConnections();
  }

  /** Then closes what is left, kept alive or not; upgraded connections are their owners' to close. */
  async finishRequests(deadlineMs: number, hurry: AbortSignal): Promise<void> {
    const endsAt = performance.now() + deadlineMs;
    while (this.#openRequests > 0 && !hurry.aborted && performance.now() < endsAt) {
      await delay(POLL_MS);
      this.server.closeIdleConnections();
    }
    this.server.closeAllConnections();
  }

  close(): void {
    if (this.server.listening) this.server.close();
    this.server.closeAllConnections();
  }
}
