import type { Knex } from 'knex';

type Bindings = Readonly<Record<string, Knex.Value | null>>;

/** Raw SQL with named bindings (`:name`); the caller says what a row is and parses it where it came from outside. */
export async function queryRows<Row>(
  db: Knex,
  sql: string,
  bindings: Bindings = {},
  /** Prepared under this name once a connection: for what runs thousands of times a second. */
  preparedAs?: string,
): Promise<readonly Row[]> {
  const query = db.raw<{ rows: Row[] }>(sql, bindings as Knex.RawBinding);
  const result = await (preparedAs === undefined ? query : query.options({ name: preparedAs }));
  return result.rows;
}

/** Calls one of the queue's functions with one jsonb argument; see migration 009. */
export async function callFunction(
  db: Knex,
  name:
    | 'start_session'
    | 'change_session'
    | 'enqueue_agent_commands'
    | 'mint_epoch'
    | 'settle_resumed'
    | 'fail_sessions',
  argument: unknown,
): Promise<unknown> {
  const [row] = await queryRows<{ answer: unknown }>(
    db,
    `select ${name}(:argument::jsonb) as answer`,
    { argument: JSON.stringify(argument) },
    name,
  );
  return row?.answer;
}
