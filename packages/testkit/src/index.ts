export { AgentHost, type HostedAgent } from './cluster/agent-host.ts';
export { ClusterAgent } from './cluster/cluster-agent.ts';
export {
  ClusterClient,
  UnexpectedAnswerError,
  type ApiAnswer,
  type ApiRequest,
} from './cluster/cluster-client.ts';
export { ClusterProcess } from './cluster/cluster-process.ts';
export { ClusterReplica, type ReplicaNetwork } from './cluster/cluster-replica.ts';
export { ClusterLoad, type ClusterLoadOptions, type LoadSummary } from './cluster/cluster-load.ts';
export { percentile, readCommandLatencies } from './cluster/command-latency.ts';
export {
  checkInvariants,
  type InvariantOptions,
  type InvariantSubject,
  type InvariantViolation,
} from './cluster/invariants.ts';
export { startTestCluster, TestCluster, type TestClusterOptions } from './cluster/test-cluster.ts';
export { LedgerRuntime, ledgerVariables } from './ledger/ledger-runtime.ts';
export {
  readLedger,
  sessionsOf,
  type LedgerAction,
  type LedgerEntry,
  type LedgerSession,
} from './ledger/ledger.ts';
export {
  startFaultProxy,
  type Fault,
  type FaultDirection,
  type FaultProxy,
  type FaultProxyOptions,
} from './fault-proxy.ts';
export {
  createTestDatabase,
  type TestDatabase,
  type TestDatabaseOptions,
} from './test-database.ts';
export {
  createTestRedis,
  startTestRedis,
  testProcessRegistry,
  type TestRedis,
} from './test-redis.ts';
export { startTestRun, type TestRun } from './test-run.ts';
export { loadUpstreamDatabase, upstream } from './upstream-database.ts';
export { testEnvironment, type TestEnvironment } from './test-environment.ts';
