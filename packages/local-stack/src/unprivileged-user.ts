import { spawnSync } from 'node:child_process';
import { userInfo } from 'node:os';

export interface UserIds {
  readonly uid: number;
  readonly gid: number;
}

const USER_NAME = 'postgres';

function lookUp(): UserIds | undefined {
  const [uid, gid] = ['-u', '-g'].map((flag) => {
    const { status, stdout } = spawnSync('id', [flag, USER_NAME], { encoding: 'utf8' });
    return status === 0 ? Number.parseInt(stdout, 10) : undefined;
  });
  return uid === undefined || gid === undefined ? undefined : { uid, gid };
}

/** PostgreSQL refuses to run as root: the user to run it as, created when missing. `undefined` for everybody else. */
export function unprivilegedUser(): UserIds | undefined {
  if (userInfo().uid !== 0) return undefined;
  const existing = lookUp();
  if (existing) return existing;
  spawnSync('useradd', ['--system', '--user-group', '--shell', '/usr/sbin/nologin', USER_NAME]);
  const created = lookUp();
  if (!created)
    throw new Error(
      `PostgreSQL does not run as root, and the user '${USER_NAME}' could not be created; set DATABASE_URL`,
    );
  return created;
}

export interface Invocation {
  readonly command: string;
  readonly args: readonly string[];
  readonly user?: UserIds | undefined;
}

/**
 * Runs the command as that user. A checkout below a private directory (/root is 0700) is out of the user's reach: there
 * the command keeps the one capability that lets it pass closed directories.
 */
export function asUser(
  user: UserIds | undefined,
  invocation: { readonly command: string; readonly args: readonly string[]; readonly dir: string },
): Invocation {
  const { command, args, dir } = invocation;
  if (!user) return { command, args };
  const isReachable = [command, dir].every(
    (path) => spawnSync('test', ['-x', path], { ...user }).status === 0,
  );
  if (isReachable) return { command, args, user };
  const capability = '+dac_override';
  return {
    command: 'setpriv',
    args: [
      `--reuid=${user.uid}`,
      `--regid=${user.gid}`,
      '--clear-groups',
      // Without it access(2) forgets the capability, and PostgreSQL does not find its own programs.
      '--securebits=+no_setuid_fixup',
      `--inh-caps=${capability}`,
      `--ambient-caps=${capability}`,
      '--',
      command,
      ...args,
    ],
  };
}
