import knexFactory, { type Knex } from 'knex';

export interface DatabaseOptions {
  readonly url: string;
  readonly applicationName: string;
  readonly poolSize?: number;
  /** An idle connection that dies must not end the process. */
  readonly onError?: (error: Error) => void;
}

/**
 * Connections that cannot hold anybody up: a process that is frozen inside a transaction is cut off
 * after 2 s, a lock is waited for 1 s at the most, a statement runs for 10 s at the most.
 */
const LIMITS = {
  idle_in_transaction_session_timeout: '2000',
  lock_timeout: '1000',
  statement_timeout: '10000',
};

/**
 * Every statement of a replica looks up few rows by an index. A plan is kept, and one that was made
 * while a table was small, or before it was analysed, reads all of it for each command: three orders of
 * magnitude at 20,000 commands. Compilation costs more than such a statement takes.
 */
const PLANNING = {
  enable_seqscan: 'off',
  enable_hashjoin: 'off',
  enable_mergejoin: 'off',
  random_page_cost: '1.1',
  jit: 'off',
};

export function connectDatabase(options: DatabaseOptions): Knex {
  return create(options, { ...LIMITS, ...PLANNING });
}

/** For the migrator: its statements take as long as the rows need. */
export function connectForMigration(options: DatabaseOptions): Knex {
  return create({ poolSize: 3, ...options }, {});
}

function create(
  { url, applicationName, poolSize = 10, onError }: DatabaseOptions,
  settings: Readonly<Record<string, string>>,
): Knex {
  return knexFactory({
    client: 'pg',
    // Knex writes to the console what it throws as well; whoever catches it says it once.
    log: { warn: ignore, error: ignore, deprecate: ignore, debug: ignore },
    connection: {
      connectionString: url,
      application_name: applicationName,
      options: Object.entries(settings)
        .map(([name, value]) => `-c ${name}=${value}`)
        .join(' '),
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

function ignore(): void {}
