import type { TestDatabase } from '../test-database.ts';

/** Milliseconds from the acceptance of each command to its end, by the database's clock, of those accepted in between. */
export async function readCommandLatencies(
  { knex }: Pick<TestDatabase, 'knex'>,
  { from = new Date(0), until }: { readonly from?: Date; readonly until?: Date } = {},
): Promise<number[]> {
  const rows = await knex<{ created_at: Date; completed_at: Date | null }>('agent_commands')
    .select('created_at', 'completed_at')
    .whereNotNull('completed_at')
    .where('created_at', '>=', from)
    .where((query) => {
      if (until) void query.where('created_at', '<', until);
    });
  return rows.map(
    ({ created_at, completed_at }) => (completed_at ?? created_at).getTime() - created_at.getTime(),
  );
}

/** The value that `share` (0 to 1) of all values do not exceed; 0 of none. */
export function percentile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)] ?? 0;
}
