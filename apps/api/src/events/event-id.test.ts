import { compareStreamIds, formatEventId, parseEventId } from './event-id.ts';

it.each([
  { generation: '0123456789abcdef', streamId: '1-2', index: undefined },
  { generation: 'ffffffffffffffff', streamId: '1795444007829-0', index: 0 },
  { generation: '0000000000000000', streamId: '9223372036854775807-12', index: 99 },
])('reads what it writes: %j', (id) => {
  expect(parseEventId(formatEventId(id))).toEqual(id);
});

it.each([
  '',
  '1-2',
  '0123456789abcdef-1',
  '0123456789abcdef-1-2.',
  '0123456789ABCDEF-1-2',
  '0123456789abcdef-1-2.3x',
])('does not take %j for an id', (text) => {
  expect(parseEventId(text)).toBeUndefined();
});

it('orders stream ids as numbers', () => {
  const ids = ['10-0', '9-11', '9-2', '100000000000000001-0', '100000000000000000-0', '0-0'];
  expect(ids.toSorted(compareStreamIds)).toEqual([
    '0-0',
    '9-2',
    '9-11',
    '10-0',
    '100000000000000000-0',
    '100000000000000001-0',
  ]);
  expect(compareStreamIds('1-1', '1-1')).toBe(0);
});
