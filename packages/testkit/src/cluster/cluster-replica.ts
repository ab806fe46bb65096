import type { ApiReplica } from '@streamspace/local-stack';
import type { FaultProxy } from '../fault-proxy.ts';
import { ClusterClient } from './cluster-client.ts';
import { ClusterProcess } from './cluster-process.ts';

export class ClusterReplica extends ClusterProcess {
  /** Its own address, past the load balancer. */
  readonly url: string;
  readonly port: number;
  readonly #adminToken: string;
  readonly #network: ReplicaNetwork | undefined;

  constructor(options: {
    readonly replica: ApiReplica;
    readonly logFile: string;
    readonly adminToken: string;
    readonly network: ReplicaNetwork | undefined;
  }) {
    super(options.replica.process, options.logFile);
    this.url = options.replica.url;
    this.port = options.replica.port;
    this.#adminToken = options.adminToken;
    this.#network = options.network;
  }

  /** Asks this replica and no other. */
  api(token = this.#adminToken): ClusterClient {
    return new ClusterClient(this.url, token);
  }

  /** Between this replica and Redis, Postgres; only in a cluster with `network: 'proxied'`. */
  get network(): ReplicaNetwork {
    if (!this.#network) throw new Error("start the cluster with network: 'proxied'");
    return this.#network;
  }
}

export interface ReplicaNetwork {
  readonly redis: FaultProxy;
  readonly postgres: FaultProxy;
}
