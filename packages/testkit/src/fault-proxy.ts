import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';

/** What happens to bytes on their way; every fault ends with `pass`, and what was held then arrives. */
export type Fault =
  | { readonly kind: 'pass' }
  /** Each chunk arrives this much later, in order. */
  | { readonly kind: 'delay'; readonly ms: number }
  /**
   * Nothing arrives and nobody is told: no FIN, no RST, as behind a dead link. New connections are accepted (the
   * kernel does that) and stay silent.
   */
  | { readonly kind: 'black-hole' };

export type FaultDirection = 'both' | 'to-target' | 'to-client';

export interface FaultProxyOptions {
  readonly target: { readonly host: string; readonly port: number };
}

export interface FaultProxy extends AsyncDisposable {
  readonly host: string;
  readonly port: number;
  /** Connections that are open now. */
  readonly connections: number;
  setFault(fault: Fault, direction?: FaultDirection): void;
  /** Of the connections that are open now; those that come go by `setFault`, which also ends this. */
  setFaultOfOpen(fault: Fault, direction?: FaultDirection): void;
  /** Resets every open connection at both ends; new ones are served. */
  reset(): void;
  /** New connections are reset until `allow`; those that are open stay. */
  refuse(): void;
  allow(): void;
  stop(): Promise<void>;
}

const HOST = '127.0.0.1';
/** What a path holds while nothing passes; then the sender feels it, as it does when its window is full. */
const HELD_BYTES = 65_536;

type Parcel =
  | { readonly kind: 'data'; readonly chunk: Buffer; readonly dueAt: number }
  | { readonly kind: 'end' | 'close'; readonly dueAt: number };

/** One direction of one connection. */
class Path {
  readonly #source: Socket;
  readonly #sink: Socket;
  readonly #parcels: Parcel[] = [];
  #heldBytes = 0;
  #fault: Fault;
  #timer: NodeJS.Timeout | undefined;
  #isSinkFull = false;

  constructor(source: Socket, sink: Socket, fault: Fault) {
    this.#source = source;
    this.#sink = sink;
    this.#fault = fault;
    source.on('data', (chunk: Buffer) => {
      this.#heldBytes += chunk.length;
      this.#add({ kind: 'data', chunk, dueAt: this.#dueAt() });
    });
    source.on('end', () => this.#add({ kind: 'end', dueAt: this.#dueAt() }));
    source.on('close', () => this.#add({ kind: 'close', dueAt: this.#dueAt() }));
    source.on('error', () => undefined);
    sink.on('drain', () => {
      this.#isSinkFull = false;
      this.#flush();
    });
  }

  set fault(fault: Fault) {
    this.#fault = fault;
    this.#flush();
  }

  dispose(): void {
    clearTimeout(this.#timer);
    this.#parcels.length = 0;
  }

  #dueAt(): number {
    return performance.now() + (this.#fault.kind === 'delay' ? this.#fault.ms : 0);
  }

  #add(parcel: Parcel): void {
    this.#parcels.push(parcel);
    if (this.#heldBytes > HELD_BYTES) this.#source.pause();
    this.#flush();
  }

  #flush(): void {
    clearTimeout(this.#timer);
    while (this.#fault.kind !== 'black-hole' && !this.#isSinkFull) {
      const next = this.#parcels[0];
      if (!next) break;
      const waitMs = next.dueAt - performance.now();
      if (waitMs > 0) {
        this.#timer = setTimeout(() => this.#flush(), waitMs);
        return;
      }
      this.#parcels.shift();
      this.#deliver(next);
    }
    if (this.#heldBytes <= HELD_BYTES) this.#source.resume();
  }

  #deliver(parcel: Parcel): void {
    if (parcel.kind === 'data') {
      this.#heldBytes -= parcel.chunk.length;
      if (this.#sink.writable) this.#isSinkFull = !this.#sink.write(parcel.chunk);
    } else if (parcel.kind === 'end') {
      this.#sink.end();
    } else {
      this.#sink.destroySoon();
    }
  }
}

interface Link {
  readonly client: Socket;
  readonly upstream: Socket;
  readonly toTarget: Path;
  readonly toClient: Path;
}

class TcpFaultProxy implements FaultProxy {
  readonly host = HOST;
  readonly #server = createServer({ allowHalfOpen: true, noDelay: true }, (client) =>
    this.#accept(client),
  );
  readonly #target: FaultProxyOptions['target'];
  readonly #links = new Set<Link>();
  #toTarget: Fault = { kind: 'pass' };
  #toClient: Fault = { kind: 'pass' };
  #isRefusing = false;

  constructor({ target }: FaultProxyOptions) {
    this.#target = target;
  }

  async listen(): Promise<void> {
    this.#server.listen(0, HOST);
    await once(this.#server, 'listening');
  }

  get port(): number {
    const address = this.#server.address();
    if (address === null || typeof address === 'string') throw new Error('the proxy is stopped');
    return address.port;
  }

  get connections(): number {
    return this.#links.size;
  }

  setFault(fault: Fault, direction: FaultDirection = 'both'): void {
    if (direction !== 'to-client') this.#toTarget = fault;
    if (direction !== 'to-target') this.#toClient = fault;
    this.setFaultOfOpen(fault, direction);
  }

  setFaultOfOpen(fault: Fault, direction: FaultDirection = 'both'): void {
    for (const { toTarget, toClient } of this.#links) {
      if (direction !== 'to-client') toTarget.fault = fault;
      if (direction !== 'to-target') toClient.fault = fault;
    }
  }

  reset(): void {
    for (const { client, upstream } of this.#links) {
      client.resetAndDestroy();
      upstream.resetAndDestroy();
    }
  }

  refuse(): void {
    this.#isRefusing = true;
  }

  allow(): void {
    this.#isRefusing = false;
  }

  async stop(): Promise<void> {
    if (!this.#server.listening) return;
    const closed = once(this.#server, 'close');
    this.#server.close();
    for (const { client, upstream, toTarget, toClient } of this.#links) {
      toTarget.dispose();
      toClient.dispose();
      client.destroy();
      upstream.destroy();
    }
    await closed;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  #accept(client: Socket): void {
    if (this.#isRefusing) {
      client.resetAndDestroy();
      return;
    }
    const upstream = connect({ ...this.#target, allowHalfOpen: true, noDelay: true });
    const link: Link = {
      client,
      upstream,
      toTarget: new Path(client, upstream, this.#toTarget),
      toClient: new Path(upstream, client, this.#toClient),
    };
    this.#links.add(link);
    const forget = (): void => {
      if (client.closed && upstream.closed) this.#links.delete(link);
    };
    client.on('close', forget);
    upstream.on('close', forget);
  }
}

/** A TCP relay whose faults are switched while connections are open. */
export async function startFaultProxy(options: FaultProxyOptions): Promise<FaultProxy> {
  const proxy = new TcpFaultProxy(options);
  await proxy.listen();
  return proxy;
}
