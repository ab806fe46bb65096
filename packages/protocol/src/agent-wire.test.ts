import {
  commandResultSchema,
  helloSchema,
  MAX_ERROR_MESSAGE_BYTES,
  MAX_RESULT_BYTES,
  outcomeSchema,
  toStorableText,
  truncateUtf8,
} from './index.ts';

describe('what agents say is made storable at the edge', () => {
  it('replaces what PostgreSQL refuses, in texts, keys and nested values', () => {
    const outcome = outcomeSchema.parse({
      status: 'failed',
      errorMessage: 'a\u0000b\ud800',
      result: { 'k\u0000': ['\udc00', 1, null, { deep: '\u0000' }] },
    });
    expect(outcome).toEqual({
      status: 'failed',
      errorMessage: 'a\uFFFDb\uFFFD',
      result: { 'k\uFFFD': ['\uFFFD', 1, null, { deep: '\uFFFD' }] },
    });
    expect(toStorableText('whole 😀')).toBe('whole 😀');
  });

  it('cuts a message to size without splitting a character', () => {
    const cut = outcomeSchema.parse({ status: 'failed', errorMessage: '😀'.repeat(5000) });
    const bytes = new TextEncoder().encode(cut.errorMessage ?? '').length;
    expect(bytes).toBeLessThanOrEqual(MAX_ERROR_MESSAGE_BYTES);
    expect(bytes).toBeGreaterThan(MAX_ERROR_MESSAGE_BYTES - 4);
    expect(cut.errorMessage).not.toContain('\uFFFD');
    expect(truncateUtf8('é', 1)).toBe('');
  });

  it('refuses a result above its size', () => {
    const result = 'x'.repeat(MAX_RESULT_BYTES);
    expect(outcomeSchema.safeParse({ status: 'completed', result }).success).toBe(false);
  });

  it('ignores fields that it does not know: the other side may be newer', () => {
    const parsed = commandResultSchema.parse({
      commandId: 'cmd_1',
      attempt: 1,
      outcome: { status: 'completed', novelty: true },
      another: 1,
    });
    expect(parsed).toEqual({ commandId: 'cmd_1', attempt: 1, outcome: { status: 'completed' } });
  });
});

it.each([
  ['an epoch below zero', { highestEpoch: -1 }],
  ['an epoch that a number cannot hold', { highestEpoch: 2 ** 53 }],
  ['no key', { key: '' }],
  ['an id longer than its column', { agentId: 'a'.repeat(256) }],
  ['a label that Kubernetes refuses', { labels: { 'not valid': 'x' } }],
])('refuses a hello with %s', (_, wrong) => {
  const hello = {
    agentId: 'agent-1',
    key: 'k',
    protocolVersion: 1,
    instanceId: 'i',
    journalId: 'j',
    highestEpoch: 0,
  };
  expect(helloSchema.safeParse(hello).success).toBe(true);
  expect(helloSchema.safeParse({ ...hello, ...wrong }).success).toBe(false);
});
