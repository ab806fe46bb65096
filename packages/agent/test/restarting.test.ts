import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { cp, mkdtemp, readdir, readFile, rm, writeFile, appendFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { WireCommand } from '@streamspace/protocol';
import { eventually } from './eventually.ts';
import { ScriptedRuntime } from './scripted-runtime.ts';
import { command, createTestBench, type TestBench } from './start-test-agent.ts';

let bench: TestBench;
beforeEach(async () => {
  bench = await createTestBench();
});
afterEach(() => bench.cleanUp());

/** The directory as a process that is killed at this moment would leave it. */
async function crashImage(journalDir = bench.journalDir): Promise<string> {
  const copy = await mkdtemp(join(tmpdir(), 'agent-crash-'));
  bench.onCleanup(() => rm(copy, { recursive: true, force: true }));
  await cp(journalDir, copy, { recursive: true });
  await rm(join(copy, 'lock'), { force: true });
  return copy;
}

async function journalFile(journalDir: string): Promise<string> {
  const [name] = (await readdir(journalDir)).filter((file) => file.endsWith('.log'));
  return join(journalDir, name!);
}

/** Runs a start that never ends, and returns the directory as a crash in the middle leaves it. */
async function crashInTheMiddleOf(start: WireCommand, others: WireCommand[] = []): Promise<string> {
  const agent = await bench.startAgent();
  const connection = await bench.hub.connection();
  const release = bench.runtime.hold(start.sessionId!);
  await connection.commands(start, ...others);
  await eventually(() => bench.runtime.ledger.includes(`start ${start.sessionId}/1`));
  const image = await crashImage();
  release();
  await agent.stop();
  bench.hub.outcomes.clear();
  return image;
}

describe('an acknowledgement', () => {
  test('is sent only when the command is in the journal on disk', async () => {
    await bench.startAgent();
    const connection = await bench.hub.connection();
    const start = command('start', 's1', 1);
    await connection.commands(start);
    const text = await readFile(await journalFile(bench.journalDir), 'utf8');
    expect(text).toContain(start.commandId);
  });

  test('of many frames costs few fsyncs', async () => {
    const agent = await bench.startAgent();
    const connection = await bench.hub.connection();
    const commands = Array.from({ length: 200 }, (_, index) => command('start', `s${index}`, 1));
    await Promise.all(commands.map((one) => connection.commands(one)));
    await Promise.all(commands.map(({ commandId }) => bench.hub.outcome(commandId)));
    expect(agent.stats.journalFsyncs).toBeLessThan(300); // 800 one by one
  });
});

describe('resume', () => {
  test('is answered with held, ended (and the outcome) or unknown', async () => {
    await bench.startAgent();
    const first = await bench.hub.connection();
    const [ended, held] = [command('start', 's1', 1), command('start', 's2', 1)];
    const release = bench.runtime.hold('s2');
    await first.commands(ended, held);
    await bench.hub.outcome(ended.commandId);
    first.cut();
    const second = await bench.hub.connection(1);
    expect(await second.resume(ended.commandId, held.commandId, 'cmd_unknown')).toEqual({
      commands: [
        {
          commandId: ended.commandId,
          state: 'ended',
          outcome: bench.hub.outcomes.get(ended.commandId),
        },
        { commandId: held.commandId, state: 'held' },
        { commandId: 'cmd_unknown', state: 'unknown' },
      ],
    });
    release();
    expect(await bench.hub.outcome(held.commandId)).toMatchObject({ status: 'completed' });
  });
});

describe('after a crash', () => {
  test('a command that had begun is run again, and creates nothing twice', async () => {
    const start = command('start', 's1', 1);
    const hibernate = command('hibernate', 's1', 2);
    const journalDir = await crashInTheMiddleOf(start, [hibernate]);
    const runtime = new ScriptedRuntime();
    await bench.startAgent({ journalDir, runtime });
    expect(await bench.hub.outcome(start.commandId)).toMatchObject({ status: 'completed' });
    expect(await bench.hub.outcome(hibernate.commandId)).toMatchObject({ status: 'completed' });
    expect(runtime.created).toEqual(['s1/1']);
  });

  test('a command that began in two earlier processes fails as agent_crashed, others go on', async () => {
    const poison = command('start', 'poison', 1);
    const follower = command('hibernate', 'poison', 2);
    const innocent = command('start', 'innocent', 1);
    bench.runtime.hold('innocent');
    const first = await crashInTheMiddleOf(poison, [follower, innocent]);
    // The second process begins it again and is killed as well.
    const runtime = new ScriptedRuntime();
    runtime.hold('poison');
    runtime.hold('innocent');
    await bench.startAgent({ journalDir: first, runtime });
    await eventually(() => runtime.ledger.includes('start poison/1'));
    const second = await crashImage(first);
    const last = new ScriptedRuntime();
    await bench.startAgent({ journalDir: second, runtime: last });
    expect(await bench.hub.outcome(poison.commandId)).toMatchObject({
      status: 'failed',
      errorCode: 'agent_crashed',
    });
    expect(await bench.hub.outcome(follower.commandId)).toMatchObject({
      errorCode: 'predecessor_failed',
    });
    expect(await bench.hub.outcome(innocent.commandId)).toMatchObject({ status: 'completed' });
    expect(last.ledger.join()).not.toContain('poison');
  }, 20_000);

  test('results that were not confirmed are sent again, with the outcome that was recorded', async () => {
    bench.hub.confirm = () => undefined;
    const agent = await bench.startAgent();
    const connection = await bench.hub.connection();
    const start = command('start', 's1', 1);
    await connection.commands(start);
    await eventually(() => connection.results.length === 1);
    const journalDir = await crashImage();
    await agent.stop();
    bench.hub.confirm = (results) => results.map(({ commandId }) => commandId);
    const runtime = new ScriptedRuntime();
    await bench.startAgent({ journalDir, runtime });
    expect(await bench.hub.outcome(start.commandId)).toMatchObject({ status: 'completed' });
    expect(runtime.ledger).toEqual([]);
  });

  test('confirmed results are not sent again, and still answer a repeat', async () => {
    const agent = await bench.startAgent();
    const start = command('start', 's1', 1);
    await (await bench.hub.connection()).commands(start);
    await bench.hub.outcome(start.commandId);
    await eventually(() => agent.stats.unconfirmedResults === 0);
    await agent.stop();
    const runtime = new ScriptedRuntime();
    await bench.startAgent({ runtime });
    const connection = await bench.hub.connection(1);
    await connection.inventory();
    expect(connection.results).toEqual([]);
    await connection.commands({ ...start, attempt: 2 });
    await eventually(() => connection.results.length === 1);
    expect(connection.results[0]).toMatchObject([
      { commandId: start.commandId, attempt: 2, outcome: { status: 'completed' } },
    ]);
    expect(runtime.ledger).toEqual([]);
  });

  test('a stop that was received still ends the start before it', async () => {
    const start = command('start', 's1', 1);
    const journalDir = await crashInTheMiddleOf(start);
    const stop = command('stop', 's1', 2);
    const runtime = new ScriptedRuntime();
    runtime.hold('s1');
    await bench.startAgent({ journalDir, runtime });
    const connection = await bench.hub.connection(1);
    await connection.commands(stop);
    await bench.hub.outcome(stop.commandId);
    const image = await crashImage(journalDir);
    const last = new ScriptedRuntime();
    await bench.startAgent({ journalDir: image, runtime: last });
    await (await bench.hub.connection(2)).commands(command('start', 's1', 1));
    await eventually(() => bench.hub.results.at(-1)?.outcome.errorCode === 'superseded');
    expect(last.ledger).toEqual([]);
  });

  test('an agent that was stopped in good order does not count as crashed', async () => {
    const start = command('start', 's1', 1);
    for (let round = 0; round < 4; round += 1) {
      const runtime = new ScriptedRuntime();
      const release = runtime.hold('s1');
      const agent = await bench.startAgent({ runtime });
      if (round === 0) await (await bench.hub.connection()).commands(start);
      await eventually(() => runtime.ledger.length === 1);
      if (round === 3) release();
      else await agent.stop();
    }
    expect(await bench.hub.outcome(start.commandId)).toMatchObject({ status: 'completed' });
  }, 20_000);
});

describe('a damaged journal', () => {
  test('with a torn last line is read up to that line', async () => {
    const start = command('start', 's1', 1);
    const journalDir = await crashInTheMiddleOf(start);
    await appendFile(await journalFile(journalDir), '1234abcd [{"type":"ended","comm');
    const runtime = new ScriptedRuntime();
    await bench.startAgent({ journalDir, runtime });
    await bench.hub.outcome(start.commandId);
    expect(runtime.created).toEqual(['s1/1']);
  });

  test('in the middle is kept aside, and a new one is begun under another id', async () => {
    const start = command('start', 's1', 1);
    const journalDir = await crashInTheMiddleOf(start);
    const path = await journalFile(journalDir);
    const text = await readFile(path, 'utf8');
    await writeFile(path, text.replace('"boot"', '"boat"'));
    await bench.startAgent({ journalDir, runtime: new ScriptedRuntime() });
    const connection = await bench.hub.connection(1);
    expect(connection.hello.journalId).not.toBe(bench.hub.hellos[0]?.journalId);
    expect(await connection.resume(start.commandId)).toMatchObject({
      commands: [{ state: 'unknown' }],
    });
    expect((await readdir(journalDir)).some((file) => file.includes('.corrupt-'))).toBe(true);
  });
});
