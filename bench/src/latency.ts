import { queryRows } from '@streamspace/database';
import type { BenchSystem } from './bench-system.ts';
import { waitForExecutions } from './wait-for-executions.ts';

export interface LatencyResult {
  readonly perSecond: number;
  readonly samples: number;
  readonly p50Ms: number;
  readonly p95Ms: number;
  readonly p99Ms: number;
  readonly maxMs: number;
}

/**
 * Open loop: a command every 1/rate seconds over HTTP, each through a replica that does not hold its
 * agent; from the moment that it was due (not sent) to the moment that the agent carries it out.
 */
export async function measureLatency(
  system: BenchSystem,
  { perSecond, seconds }: { readonly perSecond: number; readonly seconds: number },
): Promise<LatencyResult> {
  const foreignUrls = await findForeignReplicas(system);
  system.forgetExecutions();
  const samples = perSecond * seconds;
  const scheduled: number[] = [];
  const startAt = now() + 200;
  const sends: Promise<void>[] = [];
  for (let index = 0; index < samples; index += 1) {
    const dueAt = startAt + (index * 1000) / perSecond;
    scheduled.push(dueAt);
    const waitMs = dueAt - now();
    if (waitMs > 1) await new Promise((resolve) => setTimeout(resolve, waitMs));
    const agentId = system.agentIds[index % system.agentIds.length] ?? '';
    sends.push(post(system, foreignUrls.get(agentId) ?? '', agentId));
  }
  await Promise.all(sends);
  const executions = await waitForExecutions(system, samples);
  const latencies = toLatencies(system.agentIds, scheduled, executions);
  return {
    perSecond,
    samples,
    p50Ms: percentile(latencies, 0.5),
    p95Ms: percentile(latencies, 0.95),
    p99Ms: percentile(latencies, 0.99),
    maxMs: latencies.at(-1) ?? Number.NaN,
  };
}

/** The n-th command of an agent is the n-th that was scheduled for it: the queue keeps its order. */
function toLatencies(
  agentIds: readonly string[],
  scheduled: readonly number[],
  executions: readonly { readonly at: number; readonly agentId: string }[],
): readonly number[] {
  const due = new Map<string, number[]>(agentIds.map((agentId) => [agentId, []]));
  for (const [index, at] of scheduled.entries())
    due.get(agentIds[index % agentIds.length] ?? '')?.push(at);
  const seen = new Map<string, number>();
  return executions
    .map(({ at, agentId }) => {
      const place = seen.get(agentId) ?? 0;
      seen.set(agentId, place + 1);
      return at - (due.get(agentId)?.[place] ?? Number.NaN);
    })
    .toSorted((a, b) => a - b);
}

async function post(system: BenchSystem, url: string, agentId: string): Promise<void> {
  const response = await fetch(`${url}/api/v1/agents/${agentId}/commands`, {
    method: 'POST',
    headers: {
      authorization: `Bearer ${system.adminToken}`,
      'content-type': 'application/json',
    },
    body: '{"action":"ping"}',
  });
  if (response.status !== 202) throw new Error(`${url} answered ${response.status}`);
  await response.body?.cancel();
}

async function findForeignReplicas(system: BenchSystem): Promise<ReadonlyMap<string, string>> {
  const owners = await queryRows<{ agent_id: string; replica: string }>(
    system.db,
    'select agent_id, replica from agent_states',
  );
  return new Map(
    owners.map(({ agent_id: agentId, replica }, index) => {
      const foreign = system.replicas.filter(({ name }) => name !== replica);
      const chosen = foreign[index % foreign.length];
      if (!chosen) throw new Error('a latency through a foreign replica needs two replicas');
      return [agentId, chosen.url];
    }),
  );
}

function percentile(sorted: readonly number[], share: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
}

function now(): number {
  return performance.timeOrigin + performance.now();
}
