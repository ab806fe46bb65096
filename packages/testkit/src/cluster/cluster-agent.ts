import { join } from 'node:path';
import type { ProcessAgent } from '@streamspace/local-stack';
import type { FaultProxy } from '../fault-proxy.ts';
import { LEDGER_FILE } from '../ledger/ledger-agent.ts';
import { type LedgerEntry, type LedgerSession, readLedger, sessionsOf } from '../ledger/ledger.ts';
import { ClusterProcess } from './cluster-process.ts';

export class ClusterAgent extends ClusterProcess {
  readonly agentId: string;
  readonly key: string;
  readonly dataDir: string;
  readonly #network: FaultProxy | undefined;

  constructor(options: {
    readonly agent: ProcessAgent;
    readonly logFile: string;
    readonly dataDir: string;
    readonly network: FaultProxy | undefined;
  }) {
    super(options.agent.process, options.logFile);
    this.agentId = options.agent.agentId;
    this.key = options.agent.key;
    this.dataDir = options.dataDir;
    this.#network = options.network;
  }

  /** Between this agent and the control plane; only in a cluster with `network: 'proxied'`. */
  get network(): FaultProxy {
    if (!this.#network) throw new Error("start the cluster with network: 'proxied'");
    return this.#network;
  }

  /** What it did, in order; also readable while it is down. */
  ledger(): LedgerEntry[] {
    return readLedger(join(this.dataDir, LEDGER_FILE));
  }

  /** The sessions that exist at this agent now. */
  sessions(): LedgerSession[] {
    return [...sessionsOf(this.ledger()).values()];
  }
}
