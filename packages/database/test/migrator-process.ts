import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';

/** What `npm run migrate` comes down to, from the build: a process that can be killed. */
const PROGRAM = `
  import { connectForMigration, migrateToLatest } from '@streamspace/database';
  const db = connectForMigration({ url: process.env.DATABASE_URL, applicationName: process.env.APPLICATION_NAME });
  const applied = await migrateToLatest(db);
  await db.destroy();
  console.log(JSON.stringify(applied));
`;

const PACKAGE_ROOT = fileURLToPath(new URL('..', import.meta.url));

export interface MigratorExit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly applied: readonly string[] | undefined;
  readonly errors: string;
}

export interface MigratorProcess {
  readonly child: ChildProcess;
  readonly exited: Promise<MigratorExit>;
}

export function spawnMigrator(url: string, applicationName: string): MigratorProcess {
  const child = spawn(process.execPath, ['--input-type=module', '--eval', PROGRAM], {
    cwd: PACKAGE_ROOT,
    env: { ...process.env, DATABASE_URL: url, APPLICATION_NAME: applicationName },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  return { child, exited: waitForExit(child) };
}

async function waitForExit(
  child: ReturnType<typeof spawn> & Pick<ChildProcess, 'stdout' | 'stderr'>,
): Promise<MigratorExit> {
  if (!child.stdout || !child.stderr) throw new Error('the migrator has no output');
  const [output, errors] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    child.exitCode === null && child.signalCode === null ? once(child, 'exit') : undefined,
  ]);
  const { exitCode: code, signalCode: signal } = child;
  const applied = code === 0 ? (JSON.parse(output) as string[]) : undefined;
  return { code, signal, applied, errors };
}
