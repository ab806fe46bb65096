import { join } from 'node:path';
import type { SupervisedProcess } from '@streamspace/local-stack';
import type { FaultProxy } from '../fault-proxy.ts';
import { LEDGER_FILE } from '../ledger/ledger-agent.ts';
import { type LedgerEntry, readLedger } from '../ledger/ledger.ts';
import { ClusterProcess } from './cluster-process.ts';

export interface HostedAgent {
  readonly agentId: string;
  /** What it did, in order; also readable while it is down. */
  ledger(): LedgerEntry[];
}

/** One process with many ledger agents, each with a connection of its own. */
export class AgentHost extends ClusterProcess {
  readonly agents: readonly HostedAgent[];
  readonly #network: FaultProxy | undefined;

  constructor(options: {
    readonly process: SupervisedProcess;
    readonly logFile: string;
    readonly dataDir: string;
    readonly agentIds: readonly string[];
    readonly network: FaultProxy | undefined;
  }) {
    super(options.process, options.logFile);
    this.#network = options.network;
    this.agents = options.agentIds.map((agentId) => ({
      agentId,
      ledger: () => readLedger(join(options.dataDir, agentId, LEDGER_FILE)),
    }));
  }

  /** Between all agents of this host and the control plane; only in a cluster with `network: 'proxied'`. */
  get network(): FaultProxy {
    if (!this.#network) throw new Error("start the cluster with network: 'proxied'");
    return this.#network;
  }
}
