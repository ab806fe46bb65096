import type { Labels } from '@streamspace/protocol';
import type { PassedOver } from './errors.ts';

/** What a session needs of its agent. */
export interface Requirements {
  readonly platforms: readonly string[];
  readonly region: string | undefined;
  readonly labels: Labels;
  readonly cpuMillis: number;
  readonly memoryBytes: number;
}

/** An agent as selection sees it. What is null is unknown and does not limit. */
export interface AgentFacts {
  readonly agentId: string;
  readonly platform: string;
  readonly region: string | null;
  readonly labels: Labels;
  readonly state: 'online' | 'lost' | 'offline';
  readonly isApproved: boolean;
  readonly isCordoned: boolean;
  readonly isDeleted: boolean;
  readonly isQueueFull: boolean;
  readonly maxSessions: number | null;
  readonly reservedSessions: number;
  readonly cpuMillis: number | null;
  readonly reservedCpuMillis: number;
  readonly memoryBytes: number | null;
  readonly reservedMemoryBytes: number;
}

type Refusal = Omit<PassedOver, 'agentId'>;

/** Whether it could ever run the session: platform, region, labels. */
export function findMismatch(agent: AgentFacts, needed: Requirements): Refusal | undefined {
  if (!needed.platforms.includes(agent.platform))
    return {
      code: 'platform_mismatch',
      reason: `Its platform is ${agent.platform}, not ${needed.platforms.join(' or ')}.`,
    };
  if (needed.region !== undefined && agent.region !== needed.region)
    return {
      code: 'region_mismatch',
      reason: `Its region is ${agent.region ?? 'not set'}, not ${needed.region}.`,
    };
  const missing = Object.entries(needed.labels).filter(
    ([key, value]) => !Object.hasOwn(agent.labels, key) || agent.labels[key] !== value,
  );
  if (missing.length > 0)
    return {
      code: 'labels_missing',
      reason: `It lacks ${missing.map(([key, value]) => `${key}=${value}`).join(', ')}.`,
    };
  return undefined;
}

/** Whether sessions may be placed on it at all. */
export function findBar(agent: AgentFacts): Refusal | undefined {
  if (agent.isDeleted) return { code: 'agent_deleted', reason: 'It was deleted.' };
  if (!agent.isApproved) return { code: 'agent_not_approved', reason: 'It is not approved.' };
  if (agent.isCordoned) return { code: 'agent_cordoned', reason: 'It takes no new sessions.' };
  return undefined;
}

/** Whether it has room now; the enqueue looks again under the agent's lock. */
export function findShortage(agent: AgentFacts, needed: Requirements): Refusal | undefined {
  if (agent.maxSessions !== null && agent.reservedSessions >= agent.maxSessions)
    return { code: 'no_room', reason: `All of its ${agent.maxSessions} sessions are taken.` };
  if (agent.cpuMillis !== null && agent.reservedCpuMillis + needed.cpuMillis > agent.cpuMillis)
    return {
      code: 'no_room',
      reason: `Of its ${agent.cpuMillis}m CPU ${agent.reservedCpuMillis}m are taken; ${needed.cpuMillis}m are needed.`,
    };
  if (
    agent.memoryBytes !== null &&
    agent.reservedMemoryBytes + needed.memoryBytes > agent.memoryBytes
  )
    return {
      code: 'no_room',
      reason: `Of its ${agent.memoryBytes} bytes of memory ${agent.reservedMemoryBytes} are taken; ${needed.memoryBytes} are needed.`,
    };
  if (agent.isQueueFull)
    return { code: 'queue_full', reason: 'Too many commands wait for it already.' };
  return undefined;
}

/** Why selection passes it over; `undefined` where it would take it. */
export function findRefusal(agent: AgentFacts, needed: Requirements): Refusal | undefined {
  return (
    findMismatch(agent, needed) ??
    findBar(agent) ??
    (agent.state === 'offline'
      ? { code: 'offline', reason: 'It is not connected.' }
      : findShortage(agent, needed))
  );
}
