import { createHash } from 'node:crypto';
import { mkdir, open, readdir, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Logger } from 'pino';
import { sessionRecordSchema, type SessionRecord } from './session-record.ts';

const PLAIN_ID = /^[A-Za-z0-9_-]{1,100}$/;

/** The name of a session's directory: one path segment that is no other session's, whatever the id holds. */
export function directoryNameOf(sessionId: string): string {
  if (PLAIN_ID.test(sessionId)) return sessionId;
  return `~${createHash('sha256').update(sessionId).digest('hex')}`;
}

export interface SessionPaths {
  /** Removed with the session. */
  readonly directory: string;
  /** Its working directory and HOME. */
  readonly home: string;
  readonly log: string;
}

/** The sessions of this machine: a directory each, with a record, a log and a home. */
export class SessionStore {
  readonly #root: string;
  readonly #logger: Logger;
  readonly #records = new Map<string, SessionRecord>();
  #unreadable = 0;

  constructor(root: string, logger: Logger) {
    this.#root = root;
    this.#logger = logger;
  }

  /** Reads what an earlier agent left. Call it once, first. */
  async load(): Promise<void> {
    await mkdir(this.#root, { recursive: true, mode: 0o700 });
    for (const name of await readdir(this.#root)) await this.#load(name);
  }

  /** False when a directory is there whose record cannot be read: then nobody knows what it is. */
  get isComplete(): boolean {
    return this.#unreadable === 0;
  }

  find(sessionId: string): SessionRecord | undefined {
    return this.#records.get(sessionId);
  }

  all(): SessionRecord[] {
    return [...this.#records.values()];
  }

  pathsOf(sessionId: string): SessionPaths {
    const directory = join(this.#root, directoryNameOf(sessionId));
    return { directory, home: join(directory, 'home'), log: join(directory, 'session.log') };
  }

  /** On the disk when it resolves. */
  async save(record: SessionRecord): Promise<SessionRecord> {
    const { directory, home } = this.pathsOf(record.sessionId);
    await mkdir(home, { recursive: true, mode: 0o700 });
    const path = join(directory, 'record.json');
    const handle = await open(`${path}.tmp`, 'w', 0o600);
    try {
      await handle.writeFile(JSON.stringify(record));
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(`${path}.tmp`, path);
    this.#records.set(record.sessionId, record);
    return record;
  }

  /** With everything that the session has stored. */
  async remove(sessionId: string): Promise<void> {
    await rm(this.pathsOf(sessionId).directory, { recursive: true, force: true });
    this.#records.delete(sessionId);
  }

  async #load(name: string): Promise<void> {
    const path = join(this.#root, name, 'record.json');
    try {
      const record = sessionRecordSchema.parse(JSON.parse(await readFile(path, 'utf8')));
      if (directoryNameOf(record.sessionId) !== name) throw new Error('it is in the wrong place');
      this.#records.set(record.sessionId, record);
    } catch (err) {
      this.#unreadable += 1;
      this.#logger.error({ err, path }, 'record of a session cannot be read');
    }
  }
}
