import { crc32 } from 'node:zlib';
import { z } from 'zod';
import { journalEntrySchema, type JournalEntry } from './entry.ts';

/** A line that is not the last cannot be read: no crash does that. */
export class JournalCorruptError extends Error {
  readonly code = 'journal_corrupt';
}

const NEWLINE = 0x0a;
const CRC_LENGTH = 8;

/**
 * Reads a journal's bytes. A last line that is torn (it has no end, or the wrong checksum) is left
 * out: `goodBytes` is where the file is sound up to. Throws `JournalCorruptError` for any other damage.
 */
export function parseJournal(bytes: Buffer): { entries: JournalEntry[]; goodBytes: number } {
  const entries: JournalEntry[] = [];
  let goodBytes = 0;
  while (goodBytes < bytes.length) {
    const end = bytes.indexOf(NEWLINE, goodBytes);
    const line = end === -1 ? undefined : parseLine(bytes.subarray(goodBytes, end));
    if (line === undefined) {
      if (end !== -1 && end !== bytes.length - 1) {
        throw new JournalCorruptError(`the journal cannot be read at byte ${goodBytes}`);
      }
      break;
    }
    entries.push(...line);
    goodBytes = end + 1;
  }
  return { entries, goodBytes };
}

/** `undefined` for a wrong checksum; throws for what is whole and still makes no sense. */
function parseLine(line: Buffer): JournalEntry[] | undefined {
  const json = line.subarray(CRC_LENGTH + 1);
  if (Number.parseInt(line.toString('latin1', 0, CRC_LENGTH), 16) !== crc32(json)) return undefined;
  try {
    return z.array(journalEntrySchema).parse(JSON.parse(json.toString()));
  } catch (cause) {
    throw new JournalCorruptError('the journal holds an entry of an unknown kind', { cause });
  }
}
