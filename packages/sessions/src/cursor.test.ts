import { decodeCursor, encodeCursor, InvalidCursorError, toPage } from './cursor.ts';

const page = (rows: readonly string[], limit: number) =>
  toPage(rows, limit, { toItem: (row) => row.toUpperCase(), sortKey: (row) => [row, '1'] });

it('ends where there is no row too many', () => {
  expect(page([], 2)).toEqual({ items: [], nextCursor: null });
  expect(page(['a', 'b'], 2)).toEqual({ items: ['A', 'B'], nextCursor: null });
});

it('goes on after the last row that is shown', () => {
  const { items, nextCursor } = page(['a', 'b', 'c'], 2);
  expect(items).toEqual(['A', 'B']);
  expect(decodeCursor(nextCursor!, 2)).toEqual(['b', '1']);
});

it.each(['', '%', 'bm90IGpzb24', encodeCursor(['one']), encodeCursor(['a', '\u0000'])])(
  'refuses %j',
  (cursor) => {
    expect(() => decodeCursor(cursor, 2)).toThrow(InvalidCursorError);
  },
);
