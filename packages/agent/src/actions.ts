import { hostname } from 'node:os';
import type { Clock } from './clock.ts';

/** Carries out a command for the agent itself; what it resolves with is the command's result. */
export type AgentAction = (payload: Readonly<Record<string, unknown>>) => unknown;

/** By the command's action. They run one after the other, in the order of the queue. */
export type AgentActions = Readonly<Record<string, AgentAction>>;

export function builtInActions(clock: Clock, version: string | null): AgentActions {
  return {
    ping: () => ({
      host: hostname(),
      pid: process.pid,
      version,
      at: new Date(clock.now()).toISOString(),
    }),
  };
}
