export type { AgentAction, AgentActions } from './actions.ts';
export type { Agent, AgentObserver, AgentOptions, AgentStats } from './agent.ts';
export { BACKOFF_BASE_MS, BACKOFF_CAP_MS, fullJitterMs } from './backoff.ts';
export { sleep, systemClock, type Clock } from './clock.ts';
export { createAgent } from './connected-agent.ts';
export { RUN_LIMITS_MS } from './execution/run-limits.ts';
export { JournalLockedError } from './journal/directory-lock.ts';
export { isProcessAlive, readProcStat, type ProcStat } from './proc-stat.ts';
export type { RequestHandler, RequestHandlers } from './requests.ts';
export {
  CommandAborted,
  CommandError,
  isAgentStopping,
  type Endpoint,
  type Observation,
  type OperationContext,
  type Runtime,
  type SessionProgress,
  type SessionRef,
  type SessionToStart,
  type Started,
} from './runtime.ts';
export type { LinkState } from './wire/link.ts';
