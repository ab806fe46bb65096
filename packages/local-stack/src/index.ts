export { findExecutable } from './find-executable.ts';
export { freePort, isPortFree } from './free-port.ts';
export {
  startPostgres,
  type PostgresServer,
  type PostgresServerOptions,
} from './postgres-server.ts';
export { identifyProcess, isRunning, type ProcessIdentity } from './process-identity.ts';
export { ProcessRegistry, type RegisteredProcess } from './process-registry.ts';
export {
  findRedisExecutable,
  startRedis,
  type RedisServer,
  type RedisServerOptions,
} from './redis-server.ts';
export {
  startProcess,
  SupervisedProcess,
  type ProcessEvent,
  type ProcessExit,
  type ProcessSpec,
} from './supervised-process.ts';
export { waitUntil, type WaitOptions } from './wait-until.ts';
