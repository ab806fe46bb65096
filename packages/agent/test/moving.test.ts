import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { eventually } from './eventually.ts';
import { ManualClock } from './manual-clock.ts';
import { command, createTestBench, type TestBench } from './start-test-agent.ts';

let bench: TestBench;
beforeEach(async () => {
  bench = await createTestBench();
});
afterEach(() => bench.cleanUp());

test('an agent that is asked to move opens the new connection before it lets go of the old one', async () => {
  const clock = new ManualClock();
  const states: string[] = [];
  const agent = await bench.startAgent({
    clock,
    random: () => 0.5,
    onStateChange: (state) => states.push(state),
  });
  const old = await bench.hub.connection();
  old.send('move', { withinMs: 24_000 });
  await eventually(() => clock.pendingDelays.includes(12_000));
  bench.hub.isSilentAtWelcome = true;
  clock.advance(12_000);
  await eventually(() => bench.hub.openSockets === 2);
  // Not welcomed yet: the old connection serves on.
  const start = command('start', 's1', 1);
  expect(await old.commands(start)).toEqual({ acknowledged: [start.commandId] });
  expect(await bench.hub.outcome(start.commandId)).toMatchObject({ status: 'completed' });
  bench.hub.isSilentAtWelcome = false;
  clock.advance(10_000);
  await eventually(() => bench.hub.openSockets === 1 && old.isOpen);
  clock.advance(30_000);
  const next = await bench.hub.connection(1);
  await eventually(() => !old.isOpen && bench.hub.openSockets === 1);
  expect(next.hello.highestEpoch).toBe(old.epoch);
  expect(agent.state).toBe('connected');
  expect(states).toEqual(['connecting', 'connected']);
});

test('a refused move leaves the old connection in service', async () => {
  await bench.startAgent();
  const old = await bench.hub.connection();
  bench.hub.refusal = { code: 'draining', message: 'not here' };
  old.send('move', { withinMs: 0 });
  await eventually(() => bench.hub.hellos.length >= 3);
  const start = command('start', 's1', 1);
  await old.commands(start);
  await bench.hub.outcome(start.commandId);
  bench.hub.refusal = undefined;
  const next = await bench.hub.connection(1);
  await eventually(() => !old.isOpen);
  expect(next.isOpen).toBe(true);
});

test('what comes with a lower epoch than the highest welcomed is ignored and counted', async () => {
  const agent = await bench.startAgent();
  const first = await bench.hub.connection();
  first.cut();
  const second = await bench.hub.connection(1);
  const start = command('start', 's1', 1);
  const late = { epoch: first.epoch, commands: [start] };
  await expect(second.ask('commands', late, 100)).rejects.toThrow('timed out');
  expect(bench.runtime.ledger).toEqual([]);
  expect(agent.stats.staleFrames).toBe(1);
  expect(await second.resume(start.commandId)).toMatchObject({ commands: [{ state: 'unknown' }] });
  await second.commands(start);
  await bench.hub.outcome(start.commandId);
});

test('a welcome with a lower epoch than before is not taken for a welcome', async () => {
  await bench.startAgent();
  const first = await bench.hub.connection();
  bench.hub.nextEpoch = 0;
  first.cut();
  const stale = await bench.hub.connection(1);
  const third = await bench.hub.connection(2);
  expect(stale.epoch).toBe(0);
  expect(third.hello.highestEpoch).toBe(first.epoch);
  await eventually(() => !stale.isOpen);
});

test('results that were not confirmed on the old connection come on the new one', async () => {
  await bench.startAgent();
  const old = await bench.hub.connection();
  bench.hub.confirm = () => undefined;
  const start = command('start', 's1', 1);
  await old.commands(start);
  await eventually(() => old.results.length === 1);
  bench.hub.confirm = (results) => results.map(({ commandId }) => commandId);
  old.send('move', { withinMs: 0 });
  const next = await bench.hub.connection(1);
  await eventually(() => next.results.length === 1);
  expect(next.results).toEqual(old.results);
});

test('events that nobody knows yet are ignored and counted', async () => {
  const agent = await bench.startAgent();
  const connection = await bench.hub.connection();
  connection.send('of_tomorrow', { anything: true });
  connection.send('cancel', { commandIds: 'not a list' });
  await eventually(() => agent.stats.unknownFrames === 2);
  expect(await connection.inventory()).toMatchObject({ complete: true });
});
