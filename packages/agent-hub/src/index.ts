export { hashAgentKey } from './agent-authenticator.ts';
export { AgentConnection } from './agent-connection.ts';
export {
  AgentHub,
  type AgentHandler,
  type AgentHubOptions,
  type HubCounters,
} from './agent-hub.ts';
export { startPeriodic, type Periodic, type PeriodicOptions } from './periodic.ts';
export { connectRedis, type RedisConnections } from './redis-connection.ts';
export type { ReplicaHealth } from './replica-beat.ts';
export type { Replica } from './replica.ts';
