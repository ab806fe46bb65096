import { setTimeout as delay } from 'node:timers/promises';
import type { Knex } from 'knex';
import { migrationNames, StaticMigrationSource } from './migrations.ts';
import { queryRows } from './query.ts';

/** Of this project alone: 'stsp' as four bytes. */
const MIGRATION_LOCK = 0x73_74_73_70;
const POLL_MS = 200;

export interface MigrateOptions {
  readonly signal?: AbortSignal;
  readonly onWait?: () => void;
}

/**
 * Brings the schema up to date; any number may be started at once, one migrates and the others find
 * nothing to do. Returns the names of what it applied.
 *
 * The advisory lock belongs to a connection, so a migrator that is killed lets go of it by dying, and
 * the migration that it was in is rolled back. It is polled: a session that *waits* for an advisory
 * lock holds a snapshot, which `create index concurrently` would wait for in turn. Knex's own lock is a
 * row that outlives its process and throws when it is taken, hence it is released first, under ours.
 * Needs a connection of its own (a pool of at least 2; not through PgBouncer in transaction mode).
 */
export async function migrateToLatest(
  db: Knex,
  { signal, onWait }: MigrateOptions = {},
): Promise<readonly string[]> {
  const connection: object = await db.client.acquireConnection();
  try {
    await takeLock(db, connection, { ...(signal && { signal }), ...(onWait && { onWait }) });
    try {
      return await migrateUnderLock(db);
    } finally {
      // Also after a failure: the connection goes back to its pool and lives on. A dead one has let go of it.
      await db
        .raw('select pg_advisory_unlock(?)', [MIGRATION_LOCK])
        .connection(connection)
        .catch(() => undefined);
    }
  } finally {
    await db.client.releaseConnection(connection);
  }
}

async function migrateUnderLock(db: Knex): Promise<readonly string[]> {
  const migrationSource = new StaticMigrationSource();
  await db.migrate.forceFreeMigrationsLock({ migrationSource });
  const [, applied]: [number, string[]] = await db.migrate.latest({ migrationSource });
  return applied;
}

async function takeLock(db: Knex, connection: object, options: MigrateOptions): Promise<void> {
  for (let attempt = 0; ; attempt += 1) {
    const { rows } = await db
      .raw<{ rows: { locked: boolean }[] }>('select pg_try_advisory_lock(?) as locked', [
        MIGRATION_LOCK,
      ])
      .connection(connection);
    if (rows[0]?.locked) return;
    if (attempt === 0) options.onWait?.();
    await delay(POLL_MS, undefined, { ...(options.signal && { signal: options.signal }) });
  }
}

/** What this version needs and the database does not have; newer migrations than ours do not matter. */
export async function findMissingMigrations(db: Knex): Promise<readonly string[]> {
  const [table] = await queryRows<{ name: string | null }>(
    db,
    `select to_regclass('knex_migrations')::text as name`,
  );
  if (!table?.name) return migrationNames;
  const applied = await db('knex_migrations').pluck<string[]>('name');
  return migrationNames.filter((name) => !applied.includes(name));
}
