import knexFactory, { type Knex } from 'knex';

export interface DatabaseOptions {
  readonly url: string;
  readonly applicationName: string;
  readonly poolSize?: number;
  /** An idle connection that dies must not end the process. */
  readonly onError?: (error: Error) => void;
}

/**
 * A pool whose connections cannot hold anybody up: a process that is frozen inside a transaction is
 * cut off after 2 s, a lock is waited for 1 s at the most, a statement runs for 10 s at the most.
 */
const LIMITS =
  '-c idle_in_transaction_session_timeout=2000 -c lock_timeout=1000 -c statement_timeout=10000';

export function connectDatabase(options: DatabaseOptions): Knex {
  return create(options, LIMITS);
}

/** For the migrator: its statements take as long as the rows need. */
export function connectForMigration(options: DatabaseOptions): Knex {
  return create({ poolSize: 3, ...options }, '');
}

function create(
  { url, applicationName, poolSize = 10, onError }: DatabaseOptions,
  limits: string,
): Knex {
  return knexFactory({
    client: 'pg',
    connection: {
      connectionString: url,
      application_name: applicationName,
      options: limits,
      keepAlive: true,
      connectionTimeoutMillis: 5000,
    },
    pool: {
      min: 0,
      max: poolSize,
      acquireTimeoutMillis: 5000,
      propagateCreateError: true,
      afterCreate(connection: NodeJS.EventEmitter, done: (error: unknown) => void) {
        connection.on('error', (error: Error) => onError?.(error));
        done(null);
      },
    },
  });
}
