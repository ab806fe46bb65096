import type { Page } from '@streamspace/protocol';

export class InvalidCursorError extends Error {
  readonly code = 'invalid_cursor';
}

/** Opaque to clients: the sort key of the last row of a page. */
export function encodeCursor(sortKey: readonly string[]): string {
  return Buffer.from(JSON.stringify(sortKey)).toString('base64url');
}

/** The sort key, which has `length` texts that a database can store; throws `InvalidCursorError`. */
export function decodeCursor(cursor: string, length: number): readonly string[] {
  const key = parseJson(Buffer.from(cursor, 'base64url').toString('utf8'));
  if (
    !Array.isArray(key) ||
    key.length !== length ||
    !key.every((part) => typeof part === 'string' && !part.includes('\u0000'))
  )
    throw new InvalidCursorError('The cursor is not one that this list has given.');
  return key.map(String);
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** Takes `limit + 1` rows or fewer: the one too many says that there is a next page. */
export function toPage<Row, Item>(
  rows: readonly Row[],
  limit: number,
  { toItem, sortKey }: { toItem: (row: Row) => Item; sortKey: (row: Row) => readonly string[] },
): Page<Item> {
  const shown = rows.slice(0, limit);
  const last = shown.at(-1);
  return {
    items: shown.map(toItem),
    nextCursor: rows.length > limit && last !== undefined ? encodeCursor(sortKey(last)) : null,
  };
}
