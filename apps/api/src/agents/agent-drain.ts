import { SessionError, type SessionService, type SessionStore } from '@streamspace/sessions';
import type { AgentStore } from './agent-store.ts';

export interface AgentDrainOptions {
  readonly agents: AgentStore;
  readonly sessions: SessionStore;
  readonly service: SessionService;
}

/**
 * Takes no new sessions and stops those it has; answers how many. After the cordon none is added, so
 * one reading finds all. Every step may be repeated.
 */
export async function drainAgent(
  { agents, sessions, service }: AgentDrainOptions,
  agentId: string,
): Promise<number | undefined> {
  if (!(await agents.setCordoned(agentId, true))) return undefined;
  const ids = await sessions.listIdsOnAgent(agentId);
  // One after the other: they all take the agent's lock.
  for (const sessionId of ids) await stopIfThere(service, sessionId);
  return ids.length;
}

async function stopIfThere(service: SessionService, sessionId: string): Promise<void> {
  try {
    await service.stop({ sessionId, scope: 'everything' });
  } catch (error) {
    if (!(error instanceof SessionError && error.code === 'session_not_found')) throw error;
  }
}
