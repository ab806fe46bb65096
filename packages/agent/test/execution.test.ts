import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import type { WireCommand } from '@streamspace/protocol';
import { CommandError } from '../src/index.ts';
import { eventually } from './eventually.ts';
import { command, createTestBench, startPayload, type TestBench } from './start-test-agent.ts';

let bench: TestBench;
beforeEach(async () => {
  bench = await createTestBench();
});
afterEach(() => bench.cleanUp());

function agentCommand(action: string): WireCommand {
  return {
    commandId: `cmd_${action}`,
    attempt: 1,
    sessionId: null,
    generation: null,
    action,
    payload: {},
  };
}

describe('a command', () => {
  test('is acknowledged, carried out and answered with what the runtime found', async () => {
    await bench.startAgent();
    const connection = await bench.hub.connection();
    const start = command('start', 's1', 1);
    expect(await connection.commands(start)).toEqual({ acknowledged: [start.commandId] });
    expect(await bench.hub.outcome(start.commandId)).toEqual({
      status: 'completed',
      result: { endpoint: { host: '127.0.0.1', port: 4000 } },
    });
    expect(bench.hub.statuses).toMatchObject([
      { sessionId: 's1', generation: 1, state: 'starting' },
    ]);
  });

  test('with an unknown action fails and says so', async () => {
    await bench.startAgent();
    const connection = await bench.hub.connection();
    await connection.commands(agentCommand('dance'), command('start', 's1', 1, { action: 'sing' }));
    expect(await bench.hub.outcome('cmd_dance')).toMatchObject({
      status: 'failed',
      errorCode: 'unknown_action',
    });
  });

  test('"ping" answers with host, pid, version and time', async () => {
    await bench.startAgent();
    const connection = await bench.hub.connection();
    await connection.commands(agentCommand('ping'));
    expect(await bench.hub.outcome('cmd_ping')).toMatchObject({
      status: 'completed',
      result: { pid: process.pid, version: '1.2.3' },
    });
  });

  test('that cannot be read ends as failed and takes no other one with it', async () => {
    await bench.startAgent();
    const connection = await bench.hub.connection();
    const start = command('start', 's1', 1);
    const broken = { commandId: 'cmd_broken', attempt: 1, generation: 'one' };
    const answer = await connection.ask('commands', { commands: [broken, 17, start] });
    expect(answer).toEqual({ acknowledged: ['cmd_broken', start.commandId] });
    expect(await bench.hub.outcome('cmd_broken')).toMatchObject({ status: 'failed' });
    expect(await bench.hub.outcome(start.commandId)).toMatchObject({ status: 'completed' });
  });

  test('whose payload is no start fails with invalid_payload', async () => {
    await bench.startAgent();
    const connection = await bench.hub.connection();
    const start = command('start', 's1', 1, { payload: { template: 'x' } });
    await connection.commands(start);
    expect(await bench.hub.outcome(start.commandId)).toMatchObject({
      errorCode: 'invalid_payload',
    });
  });

  test('fails with the code that the runtime throws, and with internal_error for all else', async () => {
    await bench.startAgent();
    const connection = await bench.hub.connection();
    bench.runtime.failNext('start', new CommandError('image_missing', 'No such image.'));
    bench.runtime.failNext('start', new TypeError('undefined is no function'));
    const [one, two] = [command('start', 's1', 1), command('start', 's2', 1)];
    await connection.commands(one, two);
    expect(await bench.hub.outcome(one.commandId)).toEqual({
      status: 'failed',
      errorCode: 'image_missing',
      errorMessage: 'No such image.',
    });
    expect(await bench.hub.outcome(two.commandId)).toMatchObject({ errorCode: 'internal_error' });
  });
});

describe('the lane of a session', () => {
  test('runs one command at a time, in order, while other sessions go on', async () => {
    await bench.startAgent();
    const connection = await bench.hub.connection();
    const release = bench.runtime.hold('slow');
    const slow = [command('start', 'slow', 1), command('hibernate', 'slow', 2)];
    const others = Array.from({ length: 50 }, (_, index) => command('start', `s${index}`, 1));
    await connection.commands(...slow, ...others);
    await Promise.all(others.map(({ commandId }) => bench.hub.outcome(commandId)));
    expect(bench.hub.outcomes.has(slow[0]!.commandId)).toBe(false);
    expect(bench.runtime.ledger).not.toContain('hibernate slow/2');
    release();
    await bench.hub.outcome(slow[1]!.commandId);
    expect(bench.runtime.ledger.filter((line) => line.includes('slow'))).toEqual([
      'start slow/1',
      'start slow/1 done',
      'hibernate slow/2',
      'hibernate slow/2 done',
    ]);
  });

  test('lets a stop abort the start, waits until that is undone, and only then stops', async () => {
    await bench.startAgent();
    const connection = await bench.hub.connection();
    bench.runtime.hold('s1');
    const [start, stop] = [command('start', 's1', 1), command('stop', 's1', 2)];
    await connection.commands(start);
    await eventually(() => bench.runtime.ledger.length === 1);
    await connection.commands(stop);
    expect(await bench.hub.outcome(stop.commandId)).toEqual({ status: 'completed' });
    expect(await bench.hub.outcome(start.commandId)).toMatchObject({
      status: 'cancelled',
      errorCode: 'superseded',
    });
    expect(bench.runtime.ledger).toEqual([
      'start s1/1',
      'start s1/1 undone',
      'stop s1/2',
      'stop s1/2 done',
    ]);
  });

  test('reports a start that finished in spite of the abort as what it is', async () => {
    await bench.startAgent();
    const connection = await bench.hub.connection();
    const release = bench.runtime.hold('s1');
    bench.runtime.ignoresAborts = true;
    const [start, stop] = [command('start', 's1', 1), command('stop', 's1', 2)];
    await connection.commands(start);
    await eventually(() => bench.runtime.ledger.length === 1);
    await connection.commands(stop);
    release();
    expect(await bench.hub.outcome(start.commandId)).toMatchObject({ status: 'completed' });
    expect(await bench.hub.outcome(stop.commandId)).toMatchObject({ status: 'completed' });
    expect(bench.runtime.sessions.size).toBe(0);
  });

  test('never starts what was stopped before, whichever came first', async () => {
    await bench.startAgent();
    const connection = await bench.hub.connection();
    const [start, stop] = [command('start', 's1', 1), command('stop', 's1', 2)];
    await connection.commands(stop);
    await connection.commands(start);
    expect(await bench.hub.outcome(start.commandId)).toMatchObject({ errorCode: 'superseded' });
    expect(await bench.hub.outcome(stop.commandId)).toMatchObject({ status: 'completed' });
    expect(bench.runtime.created).toEqual([]);
  });

  test('answers what waits between a start and its stop without running it', async () => {
    await bench.startAgent();
    const connection = await bench.hub.connection();
    bench.runtime.hold('s1');
    const [start, hibernate, stop] = [
      command('start', 's1', 1),
      command('hibernate', 's1', 2),
      command('stop', 's1', 3),
    ];
    await connection.commands(start, hibernate, stop);
    await bench.hub.outcome(stop.commandId);
    expect(await bench.hub.outcome(hibernate.commandId)).toMatchObject({ errorCode: 'superseded' });
    expect(bench.runtime.ledger.join()).not.toContain('hibernate');
  });

  test('answers everything behind a failure but the stop, in the same batch', async () => {
    await bench.startAgent();
    const connection = await bench.hub.connection();
    bench.runtime.failNext('start', new CommandError('image_missing', 'No such image.'));
    const commands = [
      command('start', 's1', 1),
      command('hibernate', 's1', 2),
      command('wake', 's1', 3),
    ];
    await connection.commands(...commands);
    await bench.hub.outcome(commands[2]!.commandId);
    const outcomes = connection.results.map((batch) =>
      batch.map(({ outcome }) => outcome.errorCode),
    );
    expect(outcomes).toEqual([['image_missing', 'predecessor_failed', 'predecessor_failed']]);
    const stop = command('stop', 's1', 4);
    await connection.commands(stop);
    expect(await bench.hub.outcome(stop.commandId)).toMatchObject({ status: 'completed' });
    expect(bench.runtime.ledger).toEqual(['start s1/1', 'stop s1/4', 'stop s1/4 done']);
  });

  test('tries a stop until it succeeds', async () => {
    await bench.startAgent();
    const connection = await bench.hub.connection();
    for (let count = 0; count < 3; count += 1) bench.runtime.failNext('stop', new Error('busy'));
    const stop = command('stop', 's1', 2);
    await connection.commands(stop);
    expect(await bench.hub.outcome(stop.commandId)).toEqual({ status: 'completed' });
    expect(bench.runtime.ledger.filter((line) => line === 'stop s1/2')).toHaveLength(4);
  });

  test('wakes a session with the spec of its start', async () => {
    await bench.startAgent();
    const connection = await bench.hub.connection();
    const wake = command('wake', 's1', 3);
    await connection.commands(command('start', 's1', 1), command('hibernate', 's1', 2), wake);
    await bench.hub.outcome(wake.commandId);
    expect(bench.runtime.lastWakeSpec).toEqual(startPayload());
    expect(bench.runtime.created).toEqual(['s1/1', 's1/3']);
  });
});

describe('a time limit', () => {
  test('aborts the command, waits until it is undone, and fails it as timed_out', async () => {
    await bench.startAgent({ runLimitsMs: { start_session: 20 } });
    const connection = await bench.hub.connection();
    bench.runtime.hold('s1');
    const start = command('start', 's1', 1);
    await connection.commands(start);
    expect(await bench.hub.outcome(start.commandId)).toMatchObject({
      status: 'failed',
      errorCode: 'timed_out',
    });
    expect(bench.runtime.ledger).toEqual(['start s1/1', 'start s1/1 undone']);
  });
});

describe('a cancel', () => {
  test('ends what waits without running it, and what waits behind that', async () => {
    await bench.startAgent();
    const connection = await bench.hub.connection();
    const release = bench.runtime.hold('s1');
    const [start, hibernate, wake] = [
      command('start', 's1', 1),
      command('hibernate', 's1', 2),
      command('wake', 's1', 3),
    ];
    await connection.commands(start, hibernate, wake);
    connection.send('cancel', { commandIds: [hibernate.commandId, 'cmd_unknown'] });
    expect(await bench.hub.outcome(hibernate.commandId)).toMatchObject({
      status: 'cancelled',
      errorCode: 'cancelled',
    });
    expect(await bench.hub.outcome(wake.commandId)).toMatchObject({
      errorCode: 'predecessor_failed',
    });
    release();
    expect(await bench.hub.outcome(start.commandId)).toMatchObject({ status: 'completed' });
    expect(bench.runtime.ledger).toEqual(['start s1/1', 'start s1/1 done']);
  });

  test('aborts a running start, which is then undone', async () => {
    await bench.startAgent();
    const connection = await bench.hub.connection();
    bench.runtime.hold('s1');
    const start = command('start', 's1', 1);
    await connection.commands(start);
    await eventually(() => bench.runtime.ledger.length === 1);
    connection.send('cancel', { commandIds: [start.commandId] });
    expect(await bench.hub.outcome(start.commandId)).toMatchObject({ errorCode: 'cancelled' });
    expect(bench.runtime.created).toEqual([]);
  });
});

describe('delivered ten times in random order', () => {
  test('every command has one effect and one outcome', async () => {
    await bench.startAgent();
    const connection = await bench.hub.connection();
    const commands = Array.from({ length: 20 }, (_, index) => [
      command('start', `s${index}`, 1),
      command('hibernate', `s${index}`, 2),
      command('wake', `s${index}`, 3),
      command('stop', `s${index}`, 4),
    ]).flat();
    const deliveries = commands.flatMap((one) => Array.from({ length: 10 }, () => one));
    const shuffled = deliveries
      .map((one) => ({ one, place: Math.random() }))
      .toSorted((left, right) => left.place - right.place)
      .map(({ one }) => one);
    const acks: Promise<unknown>[] = [];
    for (let index = 0; index < shuffled.length; index += 7) {
      acks.push(connection.commands(...shuffled.slice(index, index + 7)));
    }
    await Promise.all(acks);
    await Promise.all(commands.map(({ commandId }) => bench.hub.outcome(commandId)));
    expect(bench.runtime.sessions.size).toBe(0);
    const effects = bench.runtime.ledger.filter((line) => line.endsWith(' done'));
    expect(new Set(effects).size).toBe(effects.length);
    expect(new Set(bench.runtime.created).size).toBe(bench.runtime.created.length);
    // Whoever repeats a command gets the outcome that was recorded.
    for (const { commandId, outcome } of bench.hub.results) {
      expect(outcome).toEqual(bench.hub.outcomes.get(commandId));
    }
  });
});
