import { queryRows } from '@streamspace/database';
import type { BenchSystem } from './bench-system.ts';
import { costBetween, readPostgresCost, type PostgresCost } from './postgres-cost.ts';
import { waitForExecutions } from './wait-for-executions.ts';

const ENQUEUERS = 6;

export interface ThroughputResult {
  readonly commands: number;
  readonly seconds: number;
  readonly perSecond: number;
  readonly cost: PostgresCost;
}

/**
 * Closed loop: `commands` for all agents in turn, `batch` a transaction, as fast as they are taken; ends
 * when every result is stored. A command out of its agent's order, or twice, or missing, is an error:
 * a fast wrong run is no result.
 */
export async function measureThroughput(
  system: BenchSystem,
  { commands, batch }: { readonly commands: number; readonly batch: number },
): Promise<ThroughputResult> {
  system.forgetExecutions();
  const before = await readPostgresCost(system.db, system.postgres.pid ?? 0);
  const startedAt = performance.now();
  await enqueue(system, commands, batch);
  await waitUntilAllEnded(system, commands);
  const seconds = (performance.now() - startedAt) / 1000;
  const after = await readPostgresCost(system.db, system.postgres.pid ?? 0);
  const executions = await waitForExecutions(system, commands);
  const last = new Map<string, number>();
  for (const { agentId, number } of executions) {
    const expected = (last.get(agentId) ?? 0) + 1;
    if (number !== expected)
      throw new Error(`${agentId} carried out command ${number} where ${expected} was next`);
    last.set(agentId, number);
  }
  return { commands, seconds, perSecond: commands / seconds, cost: costBetween(before, after) };
}

async function enqueue(system: BenchSystem, commands: number, batch: number): Promise<void> {
  const perAgent = new Map<string, number>();
  const turns: { agentId: string; first: number; count: number }[] = [];
  for (let done = 0, turn = 0; done < commands; turn += 1) {
    const agentId = system.agentIds[turn % system.agentIds.length] ?? '';
    const count = Math.min(batch, commands - done);
    const first = (perAgent.get(agentId) ?? 0) + 1;
    perAgent.set(agentId, first + count - 1);
    turns.push({ agentId, first, count });
    done += count;
  }
  // An agent's batches stay with one enqueuer: their order is what is being checked.
  const lanes = Array.from({ length: ENQUEUERS }, (_, lane) =>
    turns.filter(({ agentId }) => system.agentIds.indexOf(agentId) % ENQUEUERS === lane),
  );
  await Promise.all(
    lanes.map(async (lane) => {
      for (const { agentId, first, count } of lane)
        await system.queue.enqueueAgentCommands({
          agentId,
          action: 'ping',
          payloads: Array.from({ length: count }, (_, index) => ({ number: first + index })),
        });
    }),
  );
}

async function waitUntilAllEnded(system: BenchSystem, commands: number): Promise<void> {
  const endsAt = performance.now() + 120_000;
  for (;;) {
    // Counting what is open would itself be a good part of the server's work.
    const open = await queryRows(
      system.db,
      'select from agent_commands where completed_at is null limit 1',
    );
    if (open.length === 0) return;
    if (performance.now() > endsAt)
      throw new Error(`not all of ${commands} commands have ended after two minutes`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
