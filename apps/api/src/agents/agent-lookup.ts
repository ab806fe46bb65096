import type { Agent } from '@streamspace/protocol';
import { notFound, type ApiError } from '../http/api-error.ts';
import type { AgentStore } from './agent-store.ts';

export function unknownAgent(agentId: string): ApiError {
  return notFound(`agent '${agentId}'`);
}

/** Throws `not_found`. */
export async function getAgent(agents: AgentStore, agentId: string): Promise<Agent> {
  const agent = await agents.find(agentId);
  if (!agent) throw unknownAgent(agentId);
  return agent;
}
