import { setTimeout as delay } from 'node:timers/promises';
import { connectForMigration, isUnavailable, migrateToLatest } from '@streamspace/database';
import { z } from 'zod';

/** A new PostgreSQL may take this long to come up. */
const WAIT_FOR_POSTGRES_MS = 60_000;
const POLL_MS = 500;

const url = z
  .url({ protocol: /^postgres(ql)?$/, error: 'DATABASE_URL is not a PostgreSQL URL' })
  // oxlint-disable-next-line node/no-process-env -- a process of its own
  .parse(process.env['DATABASE_URL']);

const say = (text: string): void => void process.stdout.write(`migrate: ${text}\n`);

async function migrate(): Promise<readonly string[]> {
  const endsAt = performance.now() + WAIT_FOR_POSTGRES_MS;
  for (;;) {
    const db = connectForMigration({ url, applicationName: 'streamspace-migrate' });
    try {
      return await migrateToLatest(db, { onWait: () => say('another migrator is at it; waiting') });
    } catch (error) {
      if (!isUnavailable(error) || performance.now() > endsAt) throw error;
      await delay(POLL_MS);
    } finally {
      await db.destroy();
    }
  }
}

const applied = await migrate();
say(applied.length === 0 ? 'nothing to do' : `applied ${applied.join(', ')}`);
