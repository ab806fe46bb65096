import { readFileSync } from 'node:fs';
import { connectDatabase } from '@streamspace/database';
import type { Knex } from 'knex';
import { z } from 'zod';
import { tokenCommands } from './access/token-commands.ts';
import { TokenStore } from './access/token-store.ts';

/** What a system that runs on this machine leaves beside the checkout's package.json. */
const DEV_FILE = '.streamspace/dev.json';

function findDatabaseUrl(): string {
  // oxlint-disable-next-line node/no-process-env -- a process of its own
  const given = process.env['DATABASE_URL'];
  if (given) return given;
  try {
    return z.object({ databaseUrl: z.string() }).parse(JSON.parse(readFileSync(DEV_FILE, 'utf8')))
      .databaseUrl;
  } catch (cause) {
    throw new Error('set DATABASE_URL, or start the system on this machine first', { cause });
  }
}

let db: Knex | undefined;
const program = tokenCommands({
  tokens: () => {
    db ??= connectDatabase({ url: findDatabaseUrl(), applicationName: 'streamspace-token' });
    return new TokenStore(db);
  },
  print: (line) => void process.stdout.write(`${line}\n`),
});

try {
  await program.parseAsync();
} catch (error) {
  process.stderr.write(`token: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
} finally {
  await db?.destroy();
}
