import { expect, test } from '@jest/globals';
import { Backoff, fullJitterMs } from './backoff.ts';

test('the jitter fills the whole interval, and the interval doubles up to 30 s', () => {
  for (const [attempt, most] of [1000, 2000, 4000, 8000, 16_000, 30_000, 30_000].entries()) {
    expect(fullJitterMs(attempt, () => 0)).toBe(0);
    expect(fullJitterMs(attempt, () => 0.5)).toBe(most / 2);
    expect(fullJitterMs(attempt, () => 1)).toBe(most);
  }
  expect(fullJitterMs(5000, () => 1)).toBe(30_000);
});

test('what the server asks for is a floor under the jitter', () => {
  const backoff = new Backoff(() => 0.25);
  expect([backoff.nextMs(4000), backoff.nextMs(), backoff.nextMs()]).toEqual([4250, 500, 1000]);
  backoff.reset();
  expect(backoff.nextMs()).toBe(250);
});
