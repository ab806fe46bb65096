import { spawnSync } from 'node:child_process';

// Debian keeps daemons where only root's PATH looks.
const SYSTEM_DIRECTORIES = ['/usr/sbin', '/usr/local/sbin', '/usr/local/bin', '/opt/homebrew/bin'];

export interface ExecutableQuery {
  /** In order of preference. */
  readonly names: readonly string[];
  /** An argument that makes each of them print its version and end. */
  readonly versionArgument: string;
}

/** A command that can be run, or `undefined`: looks on the PATH first, then where system daemons live. */
export function findExecutable({ names, versionArgument }: ExecutableQuery): string | undefined {
  const candidates = names.flatMap((name) => [
    name,
    ...SYSTEM_DIRECTORIES.map((directory) => `${directory}/${name}`),
  ]);
  return candidates.find(
    (candidate) => spawnSync(candidate, [versionArgument], { stdio: 'ignore' }).status === 0,
  );
}
