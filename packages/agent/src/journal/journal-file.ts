import { open, readFile, rename, rm, type FileHandle } from 'node:fs/promises';
import { dirname } from 'node:path';
import { crc32 } from 'node:zlib';
import { hasErrorCode } from '../error-code.ts';
import type { JournalEntry } from './entry.ts';
import { parseJournal } from './journal-text.ts';

interface PendingAppend {
  readonly entries: readonly JournalEntry[];
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

export interface JournalFileOptions {
  readonly path: string;
  /** Called with what has reached the disk, in order, before the append that wrote it resolves. */
  readonly apply: (entry: JournalEntry) => void;
  /** All that is worth keeping, for compaction. */
  readonly snapshot: () => readonly JournalEntry[];
  readonly compactAboveBytes: number;
  /** Compaction failed; the journal goes on with the file that it has. */
  readonly onCompactionError: (error: unknown) => void;
}

/**
 * An append-only file. One write and one fsync carry everything that was appended while the one
 * before was under way. Each write is one line, `<crc32> <JSON array of entries>`, so that a crash
 * can tear the last line only, and nobody was ever told that what it held was safe.
 */
export class JournalFile {
  readonly #options: JournalFileOptions;
  #handle: FileHandle;
  #sizeBytes: number;
  #compactAboveBytes: number;
  readonly #pending: PendingAppend[] = [];
  #draining: Promise<void> | undefined;
  #isClosed = false;
  /** The end of the file may hold half a line of a write that failed. */
  #isTorn = false;
  /** Since its opening; for tests and metrics. */
  fsyncs = 0;

  private constructor(options: JournalFileOptions, handle: FileHandle, sizeBytes: number) {
    this.#options = options;
    this.#handle = handle;
    this.#sizeBytes = sizeBytes;
    this.#compactAboveBytes = options.compactAboveBytes;
  }

  /** Reads what is there (a missing file is an empty one) and applies it. Throws `JournalCorruptError`. */
  static async open(options: JournalFileOptions): Promise<JournalFile> {
    const { entries, goodBytes } = parseJournal(await readIfThere(options.path));
    for (const entry of entries) options.apply(entry);
    const handle = await open(options.path, 'a', 0o600);
    await handle.truncate(goodBytes);
    await syncDirectory(dirname(options.path));
    return new JournalFile(options, handle, goodBytes);
  }

  /** Resolves when the entries are on the disk and applied. A rejected append changed nothing. */
  append(entries: readonly JournalEntry[]): Promise<void> {
    if (this.#isClosed) return Promise.reject(new Error('the journal is closed'));
    return new Promise((resolve, reject) => {
      this.#pending.push({ entries, resolve, reject });
      this.#draining ??= this.#drain();
    });
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#draining;
    await this.#handle.close();
  }

  async #drain(): Promise<void> {
    // All that is appended in this turn of the event loop goes into the first write already.
    await Promise.resolve();
    while (this.#pending.length > 0) {
      const batch = this.#pending.splice(0);
      try {
        await this.#write(batch.flatMap(({ entries }) => entries));
        for (const { resolve } of batch) resolve();
      } catch (error) {
        for (const { reject } of batch) reject(error);
      }
      if (this.#sizeBytes > this.#compactAboveBytes) await this.#compact();
    }
    this.#draining = undefined;
  }

  async #write(entries: readonly JournalEntry[]): Promise<void> {
    if (entries.length === 0) return;
    const line = toLine(entries);
    if (this.#isTorn) await this.#handle.truncate(this.#sizeBytes);
    this.#isTorn = true;
    await this.#handle.appendFile(line);
    await this.#handle.datasync();
    this.#isTorn = false;
    this.fsyncs += 1;
    this.#sizeBytes += line.length;
    for (const entry of entries) this.#options.apply(entry);
  }

  async #compact(): Promise<void> {
    const { path, snapshot, compactAboveBytes } = this.#options;
    try {
      const text = Buffer.concat(snapshot().map((entry) => toLine([entry])));
      const handle = await replaceFile(path, text);
      const old = this.#handle;
      this.#handle = handle;
      this.#sizeBytes = text.length;
      this.#isTorn = false;
      await old.close();
    } catch (error) {
      this.#options.onCompactionError(error);
    }
    // Grown to four times what is worth keeping (or what could not be rewritten): only then again.
    this.#compactAboveBytes = Math.max(compactAboveBytes, this.#sizeBytes * 4);
  }
}

/** Writes a new file in the place of `path`, whole or not at all, and returns it open for appending. */
async function replaceFile(path: string, text: Buffer): Promise<FileHandle> {
  const temporary = `${path}.tmp`;
  await rm(temporary, { force: true });
  const handle = await open(temporary, 'a', 0o600);
  try {
    await handle.appendFile(text);
    await handle.sync();
    await rename(temporary, path);
    await syncDirectory(dirname(path));
    return handle;
  } catch (error) {
    await handle.close();
    throw error;
  }
}

function toLine(entries: readonly JournalEntry[]): Buffer {
  const json = JSON.stringify(entries);
  return Buffer.from(`${crc32(json).toString(16).padStart(8, '0')} ${json}\n`);
}

async function readIfThere(path: string): Promise<Buffer> {
  try {
    return await readFile(path);
  } catch (error) {
    if (hasErrorCode(error, 'ENOENT')) return Buffer.alloc(0);
    throw error;
  }
}

/** A rename or a new file is durable when its directory is. */
export async function syncDirectory(path: string): Promise<void> {
  const handle = await open(path, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
