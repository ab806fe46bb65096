import type { Knex } from 'knex';

const TABLES = ['organizations', 'users', 'agents', 'agent_commands', 'sessions'];

/** The Go control plane wrote times without a zone, in UTC; a bare type change would read them in the session's zone. */
export async function up(knex: Knex): Promise<void> {
  const columns = await knex('information_schema.columns')
    .select<{ table_name: string; column_name: string; column_default: string | null }[]>(
      'table_name',
      'column_name',
      'column_default',
    )
    .whereRaw('table_schema = current_schema()')
    .where('data_type', 'timestamp without time zone')
    .whereIn('table_name', TABLES);
  for (const { table_name: table, column_name: column, column_default: preset } of columns) {
    await knex.raw('alter table ?? alter column ?? drop default', [table, column]);
    await knex.raw(`alter table ?? alter column ?? type timestamptz using ?? at time zone 'UTC'`, [
      table,
      column,
      column,
    ]);
    if (preset !== null)
      await knex.raw('alter table ?? alter column ?? set default now()', [table, column]);
  }
}
