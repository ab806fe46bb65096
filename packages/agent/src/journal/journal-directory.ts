import { randomUUID } from 'node:crypto';
import { mkdir, open, readFile, rename } from 'node:fs/promises';
import { join } from 'node:path';
import type { Logger } from 'pino';
import { z } from 'zod';
import type { Clock } from '../clock.ts';
import { lockDirectory, type DirectoryLock } from './directory-lock.ts';
import { syncDirectory } from './journal-file.ts';
import { JournalCorruptError } from './journal-text.ts';
import { Journal } from './journal.ts';

const identitySchema = z.object({
  instanceId: z.string(),
  /** Of the control plane that welcomed this agent last; null before the first welcome. */
  installationId: z.string().nullable(),
  /** The journal's file for each installation; `''` stands for none yet. */
  files: z.record(z.string(), z.string()),
});
type Identity = z.infer<typeof identitySchema>;

export interface JournalDirectoryOptions {
  readonly path: string;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly signal: AbortSignal;
}

/**
 * Where an agent keeps what it must not forget: `identity.json`, the lock, and one journal for each
 * control plane (installation) that it has worked for. One process at a time.
 */
export class JournalDirectory {
  readonly #options: JournalDirectoryOptions;
  readonly #lock: DirectoryLock;
  #identity: Identity;

  private constructor(options: JournalDirectoryOptions, lock: DirectoryLock, identity: Identity) {
    this.#options = options;
    this.#lock = lock;
    this.#identity = identity;
  }

  /** Makes the directory when it is missing. Throws `JournalLockedError`. */
  static async open(options: JournalDirectoryOptions): Promise<JournalDirectory> {
    await mkdir(options.path, { recursive: true, mode: 0o700 });
    const lock = await lockDirectory(options.path, options.clock, options.signal);
    const directory = new JournalDirectory(options, lock, {
      instanceId: randomUUID(),
      installationId: null,
      files: {},
    });
    const known = await directory.#readIdentity();
    if (known) directory.#identity = known;
    else await directory.#writeIdentity(directory.#identity);
    return directory;
  }

  get instanceId(): string {
    return this.#identity.instanceId;
  }

  get installationId(): string | null {
    return this.#identity.installationId;
  }

  /** The journal of the current installation. One that cannot be read is kept aside and a new one begun. */
  async openJournal(): Promise<Journal> {
    const key = this.#identity.installationId ?? '';
    let file = this.#identity.files[key];
    if (file === undefined) {
      file = `journal-${randomUUID()}.log`;
      await this.#writeIdentity({
        ...this.#identity,
        files: { ...this.#identity.files, [key]: file },
      });
    }
    const { clock, logger } = this.#options;
    const path = join(this.#options.path, file);
    try {
      return await Journal.open({ path, clock, logger });
    } catch (err) {
      if (!(err instanceof JournalCorruptError)) throw err;
      const aside = `${path}.corrupt-${clock.now()}`;
      await rename(path, aside);
      logger.error(
        { err, keptAs: aside },
        'journal is damaged: it is kept aside and a new one is begun; the control plane will settle what was open by the inventory',
      );
      return Journal.open({ path, clock, logger });
    }
  }

  /** The journal that nobody had yet becomes this installation's. */
  async bind(installationId: string): Promise<void> {
    const { '': unbound, ...files } = this.#identity.files;
    await this.#writeIdentity({
      ...this.#identity,
      installationId,
      files: { ...files, ...(unbound !== undefined && { [installationId]: unbound }) },
    });
  }

  /** From now on `openJournal` opens that installation's own. */
  async moveTo(installationId: string): Promise<void> {
    await this.#writeIdentity({ ...this.#identity, installationId });
  }

  release(): Promise<void> {
    return this.#lock.release();
  }

  async #readIdentity(): Promise<Identity | undefined> {
    const path = join(this.#options.path, 'identity.json');
    let text: string;
    try {
      text = await readFile(path, 'utf8');
    } catch {
      return undefined;
    }
    try {
      return identitySchema.parse(JSON.parse(text));
    } catch (err) {
      const aside = `${path}.corrupt-${this.#options.clock.now()}`;
      await rename(path, aside);
      this.#options.logger.error(
        { err, keptAs: aside },
        'identity.json is damaged: it is kept aside, and this agent goes on as a new instance with a new journal',
      );
      return undefined;
    }
  }

  async #writeIdentity(identity: Identity): Promise<void> {
    const path = join(this.#options.path, 'identity.json');
    const handle = await open(`${path}.tmp`, 'w', 0o600);
    try {
      await handle.writeFile(JSON.stringify(identity));
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(`${path}.tmp`, path);
    await syncDirectory(this.#options.path);
    this.#identity = identity;
  }
}
