import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  chownSync,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { identifyProcess } from './process-identity.ts';
import { asUser, type UserIds } from './unprivileged-user.ts';

/** Fills a new data directory, and returns the superuser's password (kept beside the directory, for the owner only). */
export function prepareDataDirectory(options: {
  readonly dataDir: string;
  readonly initdb: string;
  readonly user: UserIds | undefined;
}): string {
  const { dataDir, initdb, user } = options;
  const passwordFile = `${dataDir}.password`;
  if (existsSync(join(dataDir, 'PG_VERSION'))) return readFileSync(passwordFile, 'utf8').trim();

  const password = randomBytes(24).toString('base64url');
  // Filled under another name and then renamed: a start that is interrupted leaves no half directory behind.
  const unfinished = `${dataDir}.unfinished`;
  rmSync(unfinished, { recursive: true, force: true });
  mkdirSync(unfinished, { recursive: true, mode: 0o700 });
  if (user) chownSync(unfinished, user.uid, user.gid);
  runInitdb({ initdb, directory: unfinished, password, user });
  writeFileSync(passwordFile, `${password}\n`, { mode: 0o600 });
  rmSync(dataDir, { recursive: true, force: true });
  renameSync(unfinished, dataDir);
  return password;
}

function runInitdb(options: {
  readonly initdb: string;
  readonly directory: string;
  readonly password: string;
  readonly user: UserIds | undefined;
}): void {
  const { initdb, directory, password, user } = options;
  const passwordInput = join(tmpdir(), `initdb-${randomBytes(8).toString('hex')}`);
  writeFileSync(passwordInput, password, { mode: 0o600 });
  if (user) chownSync(passwordInput, user.uid, user.gid);
  const initdbArgs = [
    `--pgdata=${directory}`,
    '--username=postgres',
    `--pwfile=${passwordInput}`,
    '--auth=scram-sha-256',
    '--encoding=UTF8',
    // The same order of text on every system, whatever locales it has.
    '--locale=C',
    '--locale-provider=builtin',
    '--builtin-locale=C.UTF-8',
  ];
  const { command, args, ...as } = asUser(user, {
    command: initdb,
    args: initdbArgs,
    dir: directory,
  });
  try {
    const { status, stderr, error } = spawnSync(command, args, { encoding: 'utf8', ...as.user });
    if (status !== 0)
      throw new Error(`initdb in ${dirname(directory)} failed: ${stderr}`, { cause: error });
  } finally {
    rmSync(passwordInput, { force: true });
  }
}

/**
 * After a kill -9 the lock file stays. PostgreSQL removes it by itself, except when its pid belongs to another process
 * by now: then it is removed here. Throws when a server really runs on this directory.
 */
export function clearStaleLock(dataDir: string): void {
  const lockFile = join(dataDir, 'postmaster.pid');
  let pid: number;
  try {
    pid = Number.parseInt(readFileSync(lockFile, 'utf8'), 10);
  } catch {
    return;
  }
  if (!Number.isSafeInteger(pid) || pid <= 0 || !identifyProcess(pid)) return;
  if (commandLine(pid).includes(dataDir))
    throw new Error(`a PostgreSQL server (pid ${pid}) already runs on ${dataDir}`);
  rmSync(lockFile, { force: true });
}

function commandLine(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ');
  } catch {
    return spawnSync('ps', ['-o', 'args=', '-p', String(pid)], { encoding: 'utf8' }).stdout;
  }
}
