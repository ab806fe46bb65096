import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { MAX_BATCH_BYTES } from '@streamspace/protocol';
import { CommandError, type Runtime } from '../src/index.ts';
import { eventually } from './eventually.ts';
import { ManualClock } from './manual-clock.ts';
import { command, createTestBench, type TestBench } from './start-test-agent.ts';

let bench: TestBench;
beforeEach(async () => {
  bench = await createTestBench();
});
afterEach(() => bench.cleanUp());

describe('a result', () => {
  test('is sent again every 10 s until it is confirmed', async () => {
    const clock = new ManualClock();
    const agent = await bench.startAgent({ clock });
    const connection = await bench.hub.connection();
    bench.hub.confirm = () => undefined;
    const start = command('start', 's1', 1);
    await connection.commands(start);
    await eventually(() => connection.results.length === 1);
    clock.advance(9_999);
    await connection.inventory();
    expect(connection.results).toHaveLength(1);
    bench.hub.confirm = () => []; // received, and could not be stored
    clock.advance(1);
    await eventually(() => connection.results.length === 2);
    bench.hub.confirm = (results) => results.map(({ commandId }) => commandId);
    clock.advance(10_000);
    await eventually(() => agent.stats.unconfirmedResults === 0);
    clock.advance(60_000);
    await connection.inventory();
    expect(connection.results).toHaveLength(3);
  });

  test('that is never confirmed does not hold up the others', async () => {
    await bench.startAgent();
    const connection = await bench.hub.connection();
    const poison = command('start', 'poison', 1);
    bench.hub.confirm = (results) =>
      results.map(({ commandId }) => commandId).filter((id) => id !== poison.commandId);
    const others = Array.from({ length: 250 }, (_, index) => command('start', `s${index}`, 1));
    await connection.commands(poison, ...others);
    await Promise.all(others.map(({ commandId }) => bench.hub.outcome(commandId)));
    for (const batch of connection.results) expect(batch.length).toBeLessThanOrEqual(100);
  });

  test('is cut to what a frame may hold before it is written down', async () => {
    const large = 'é'.repeat(40_000);
    const runtime: Runtime = {
      start: (session) => {
        if (session.sessionId === 'fails') {
          return Promise.reject(new CommandError('Not A Code', `NUL \u0000 ${large}`));
        }
        return Promise.resolve({ log: large, loop: 1n });
      },
      stop: () => Promise.resolve(),
      hibernate: () => Promise.resolve(),
      wake: () => Promise.resolve({ log: 'x'.repeat(60_000) }),
      inventory: () => Promise.resolve({ complete: true, sessions: [] }),
    };
    await bench.startAgent({ runtime });
    const connection = await bench.hub.connection();
    const [fails, odd] = [command('start', 'fails', 1), command('start', 'odd', 1)];
    const wakes = Array.from({ length: 20 }, (_, index) => command('wake', `s${index}`, 2));
    await connection.commands(fails, odd, ...wakes);
    await Promise.all([fails, odd, ...wakes].map(({ commandId }) => bench.hub.outcome(commandId)));
    const failed = bench.hub.outcomes.get(fails.commandId)!;
    expect(failed.errorCode).toBe('internal_error');
    expect(Buffer.byteLength(failed.errorMessage!)).toBeLessThanOrEqual(4096);
    expect(failed.errorMessage).toContain('NUL \uFFFD');
    expect(bench.hub.outcomes.get(odd.commandId)?.result).toEqual({ unreadable: true });
    for (const batch of connection.results) {
      expect(JSON.stringify(batch).length).toBeLessThanOrEqual(MAX_BATCH_BYTES);
    }
  });
});

describe('the answer to a resume', () => {
  test('stays below what a frame may hold; the outcomes that do not fit come as results', async () => {
    const runtime: Runtime = {
      start: () => Promise.resolve({ log: 'x'.repeat(60_000) }),
      stop: () => Promise.resolve(),
      hibernate: () => Promise.resolve(),
      wake: () => Promise.resolve({}),
      inventory: () => Promise.resolve({ complete: true, sessions: [] }),
    };
    await bench.startAgent({ runtime });
    const connection = await bench.hub.connection();
    const starts = Array.from({ length: 20 }, (_, index) => command('start', `s${index}`, 1));
    const commandIds = starts.map(({ commandId }) => commandId);
    await connection.commands(...starts);
    await Promise.all(commandIds.map((commandId) => bench.hub.outcome(commandId)));
    bench.hub.outcomes.clear();
    const answer = await connection.resume(...commandIds);
    expect(JSON.stringify(answer).length).toBeLessThan(500_000);
    const held = answer.commands.filter(({ state }) => state === 'held');
    expect(held.length).toBeGreaterThan(10);
    await Promise.all(held.map(({ commandId }) => bench.hub.outcome(commandId)));
  });
});

describe('a status', () => {
  test('says that a running session died, under a sequence that rises', async () => {
    await bench.startAgent();
    const connection = await bench.hub.connection();
    for (const message of ['one', 'two']) {
      bench.runtime.report!({
        sessionId: 's1',
        generation: 1,
        state: 'failed',
        code: 'process_exited',
        message,
      });
      await eventually(() => bench.hub.statuses.at(-1)?.message === message);
    }
    const [first, second] = connection.statuses.flat();
    expect(second!.sequence).toBeGreaterThan(first!.sequence);
    expect(Number.isSafeInteger(second!.sequence)).toBe(true);
  });

  test('waits while there is no connection, the latest of each session', async () => {
    await bench.startAgent();
    const first = await bench.hub.connection();
    bench.hub.refusal = { code: 'busy', message: 'later' };
    first.cut();
    await eventually(() => bench.hub.hellos.length > 1);
    for (const message of ['one', 'two', 'three']) {
      bench.runtime.report!({ sessionId: 's1', generation: 1, state: 'failed', message });
    }
    bench.runtime.report!({ sessionId: 's2', generation: 1, state: 'running' });
    bench.hub.refusal = undefined;
    const second = await bench.hub.connection(1);
    await eventually(() => second.statuses.length > 0);
    expect(second.statuses).toMatchObject([
      [
        { sessionId: 's1', message: 'three' },
        { sessionId: 's2', state: 'running' },
      ],
    ]);
  });
});

describe('an inventory', () => {
  test('is what the runtime sees, and incomplete when it cannot see', async () => {
    await bench.startAgent();
    const connection = await bench.hub.connection();
    const start = command('start', 's1', 1);
    await connection.commands(start);
    await bench.hub.outcome(start.commandId);
    expect(await connection.inventory()).toEqual({
      complete: true,
      sessions: [{ sessionId: 's1', generation: 1, state: 'running' }],
    });
    bench.runtime.isBlind = true;
    expect(await connection.inventory()).toEqual({ complete: false, sessions: [] });
  });

  test('answered with orphans twice ends those that are old enough', async () => {
    const clock = new ManualClock();
    await bench.startAgent({ clock });
    const connection = await bench.hub.connection();
    const starts = ['s1', 's2'].map((id) => command('start', id, 1));
    await connection.commands(...starts);
    await Promise.all(starts.map(({ commandId }) => bench.hub.outcome(commandId)));
    for (let round = 0; round < 3; round += 1) {
      expect((await connection.inventory()).sessions).toHaveLength(2);
      connection.send('orphans', { sessionIds: ['s1', 'never_heard_of'] });
      clock.advance(3 * 60_000);
    }
    await eventually(() => !bench.runtime.sessions.has('s1'));
    expect([...bench.runtime.sessions.keys()]).toEqual(['s2']);
    expect(bench.runtime.ledger.at(-1)).toBe('stop s1/1 done');
  });
});

describe('a request', () => {
  test('is answered by its handler, or with why not', async () => {
    await bench.startAgent({
      requests: {
        double: ({ value }) => ({ value: Number(value) * 2 }),
        refuse: () => {
          throw new CommandError('not_now', 'Later.');
        },
        break: () => {
          throw new Error('inner detail');
        },
      },
    });
    const connection = await bench.hub.connection();
    const ask = (kind: string): Promise<unknown> =>
      connection.ask('request', { kind, payload: { value: 21 } });
    expect(await ask('ping')).toMatchObject({ ok: true, payload: { at: expect.any(String) } });
    expect(await ask('double')).toEqual({ ok: true, payload: { value: 42 } });
    expect(await ask('refuse')).toEqual({ ok: false, code: 'not_now', message: 'Later.' });
    expect(await ask('break')).toMatchObject({ ok: false, code: 'internal_error' });
    expect(JSON.stringify(await ask('break'))).not.toContain('inner detail');
    expect(await ask('toString')).toMatchObject({ ok: false, code: 'unknown_kind' });
  });
});
