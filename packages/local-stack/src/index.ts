export { createAdminToken, loadAdminToken } from './admin-token.ts';
export { ensureAgentKey, type AgentCredentialsOptions } from './agent-credentials.ts';
export { apiReplica, type ApiReplica, type ApiReplicaOptions } from './api-replica.ts';
export { entryPoints, repositoryRoot } from './entry-points.ts';
export { findExecutable } from './find-executable.ts';
export { freePort, isPortFree } from './free-port.ts';
export {
  findHaproxyExecutable,
  startLoadBalancer,
  type Backend,
  type LoadBalancer,
  type LoadBalancerOptions,
} from './load-balancer.ts';
export {
  LocalStack,
  localAgentDirectory,
  startLocalStack,
  type LocalStackOptions,
} from './local-stack.ts';
export { answersOk, nodeProgram, runNodeProgram, type NodeProgram } from './node-program.ts';
export {
  startPostgres,
  type PostgresServer,
  type PostgresServerOptions,
} from './postgres-server.ts';
export { processAgent, type ProcessAgent, type ProcessAgentOptions } from './process-agent.ts';
export { identifyProcess, isRunning, type ProcessIdentity } from './process-identity.ts';
export { ProcessRegistry, type RegisteredProcess } from './process-registry.ts';
export {
  findRedisExecutable,
  startRedis,
  type RedisServer,
  type RedisServerOptions,
} from './redis-server.ts';
export { killSessionProcesses } from './session-processes.ts';
export { readOptionalFile, writePrivateFile } from './secret-file.ts';
export { AlreadyRunningError, StateDirectory } from './state-directory.ts';
export {
  startProcess,
  SupervisedProcess,
  type ProcessEvent,
  type ProcessExit,
  type ProcessSpec,
} from './supervised-process.ts';
export { waitUntil, type WaitOptions } from './wait-until.ts';
