import { mkdirSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { identifyProcess, isRunning, type ProcessIdentity } from './process-identity.ts';
import { ProcessRegistry, type RegisteredProcess } from './process-registry.ts';
import { readOptionalFile, writePrivateFile } from './secret-file.ts';

const OWNER_FILE = 'supervisor.json';
// Enough for PostgreSQL to write down what it has; whatever else is left may as well be killed.
const LEFTOVER_GRACE_MS = 2_000;

export class AlreadyRunningError extends Error {
  constructor(pid: number) {
    super(`the system already runs in this directory (pid ${pid}); stop that one first`);
    this.name = 'AlreadyRunningError';
  }
}

/** What one machine's system keeps between its runs. One supervisor owns it at a time. */
export class StateDirectory {
  readonly path: string;
  readonly processes: ProcessRegistry;

  private constructor(path: string) {
    this.path = path;
    this.processes = new ProcessRegistry(join(path, 'processes'));
  }

  /** Throws `AlreadyRunningError` while the supervisor that owns it is alive; a dead one's is taken over. */
  static claim(path: string): StateDirectory {
    // PostgreSQL may run as another user and has to pass through; the secrets in it are files of mode 0600.
    mkdirSync(path, { recursive: true, mode: 0o755 });
    const owner = readOwner(path);
    if (owner && owner.pid !== process.pid && isRunning(owner))
      throw new AlreadyRunningError(owner.pid);
    writePrivateFile(join(path, OWNER_FILE), JSON.stringify(identifyProcess(process.pid)));
    return new StateDirectory(path);
  }

  /** Ends what a supervisor that was killed could not end. */
  async endLeftovers(): Promise<RegisteredProcess[]> {
    return this.processes.endLeftovers(LEFTOVER_GRACE_MS);
  }

  /** Deletes all that was kept. */
  empty(): void {
    for (const entry of readdirSync(this.path))
      if (entry !== OWNER_FILE) rmSync(join(this.path, entry), { recursive: true, force: true });
  }

  release(): void {
    rmSync(join(this.path, OWNER_FILE), { force: true });
  }
}

function readOwner(path: string): ProcessIdentity | undefined {
  const content = readOptionalFile(join(path, OWNER_FILE));
  if (content === undefined) return undefined;
  try {
    const owner: unknown = JSON.parse(content);
    if (typeof owner !== 'object' || owner === null) return undefined;
    if (!('pid' in owner) || typeof owner.pid !== 'number') return undefined;
    if (!('startedAt' in owner) || typeof owner.startedAt !== 'string') return undefined;
    return { pid: owner.pid, startedAt: owner.startedAt };
  } catch {
    return undefined;
  }
}
