import type { BenchSystem, Execution } from './bench-system.ts';

/** The ledger is written every 50 ms: what ended is in it soon after. */
export async function waitForExecutions(
  system: BenchSystem,
  count: number,
): Promise<readonly Execution[]> {
  const endsAt = performance.now() + 5000;
  for (;;) {
    const executions = system.readExecutions();
    if (executions.length === count) return executions;
    if (performance.now() > endsAt)
      throw new Error(`${executions.length} commands were carried out, and not ${count}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
