import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import type { AgentOptions } from '../src/index.ts';
import { createAgent } from '../src/index.ts';
import { pino } from 'pino';
import { eventually } from './eventually.ts';
import { ManualClock } from './manual-clock.ts';
import { command, createTestBench, type TestBench } from './start-test-agent.ts';

let bench: TestBench;
beforeEach(async () => {
  bench = await createTestBench();
});
afterEach(() => bench.cleanUp());

/** An agent whose time stands still, with the largest jitter there is. */
async function startSlowAgent(
  options: Partial<AgentOptions> = {},
): Promise<{ clock: ManualClock; delayMs: () => Promise<number> }> {
  const clock = new ManualClock();
  const agent = await bench.startAgent({ clock, random: () => 0.999_999, ...options });
  return {
    clock,
    /** The delay of the next dial, once it is the only timer and no dial waits for its welcome. */
    async delayMs() {
      await eventually(() => agent.state !== 'connected');
      await eventually(() => clock.pendingDelays.length === 1 && clock.pendingDelays[0] !== 10_000);
      return Math.round(clock.pendingDelays[0]!);
    },
  };
}

describe('the hello', () => {
  test('says who the agent is, what it has, and the highest epoch of this process', async () => {
    await bench.startAgent({
      region: 'eu',
      labels: { desktop: 'true' },
      capacity: { maxSessions: 3 },
    });
    const connection = await bench.hub.connection();
    expect(connection.hello).toEqual({
      agentId: 'agent-1',
      key: 'secret-key',
      protocolVersion: 1,
      instanceId: expect.any(String),
      journalId: expect.any(String),
      highestEpoch: 0,
      platform: 'test',
      region: 'eu',
      labels: { desktop: 'true' },
      capacity: { maxSessions: 3 },
      version: '1.2.3',
    });
    connection.cut();
    const again = await bench.hub.connection(1);
    expect(again.hello).toEqual({ ...connection.hello, highestEpoch: connection.epoch });
  });

  test('keeps instance and journal over a restart of the process and forgets the epoch', async () => {
    const agent = await bench.startAgent();
    const { hello } = await bench.hub.connection();
    await agent.stop();
    await bench.startAgent();
    expect((await bench.hub.connection(1)).hello).toEqual(hello);
  });

  test('carries the changed capacity, which is said once on the living connection', async () => {
    const agent = await bench.startAgent({ capacity: { maxSessions: 3 } });
    const connection = await bench.hub.connection();
    agent.setCapacity({ maxSessions: 3 });
    agent.setCapacity({ maxSessions: 4 });
    await eventually(() => connection.heartbeats.length > 0);
    expect(connection.heartbeats).toEqual([{ capacity: { maxSessions: 4 } }]);
    connection.cut();
    expect((await bench.hub.connection(1)).hello.capacity).toEqual({ maxSessions: 4 });
  });
});

describe('reconnecting', () => {
  test('waits up to 1 s, 2 s, 4 s ... 30 s, for ever', async () => {
    const { clock, delayMs } = await startSlowAgent();
    await bench.hub.close();
    const delays: number[] = [];
    for (let attempt = 0; attempt < 8; attempt += 1) {
      delays.push(await delayMs());
      clock.advance(delays.at(-1)! + 1);
    }
    expect(delays).toEqual([1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000]);
  });

  test('spreads over the whole interval, from nothing at all', async () => {
    await bench.startAgent({ random: () => 0 });
    (await bench.hub.connection()).cut();
    await bench.hub.connection(1);
    expect(bench.hub.connections).toHaveLength(2);
  });

  test('begins anew only after 30 s of a welcomed connection', async () => {
    const { clock, delayMs } = await startSlowAgent();
    for (const [index, delay] of [1000, 2000].entries()) {
      const connection = await bench.hub.connection(index);
      await eventually(() => clock.pendingDelays.includes(30_000));
      clock.advance(29_000);
      connection.cut();
      expect(await delayMs()).toBe(delay);
      clock.advance(delay + 1);
    }
    const connection = await bench.hub.connection(2);
    await eventually(() => clock.pendingDelays.includes(30_000));
    clock.advance(30_000);
    connection.cut();
    expect(await delayMs()).toBe(1000);
  });

  test('waits at least as long as the control plane asks, and the jitter on top', async () => {
    bench.hub.refusal = { code: 'busy', message: 'later', retryAfterMs: 5000 };
    const { clock, delayMs } = await startSlowAgent();
    expect(await delayMs()).toBe(6000);
    bench.hub.refusal = undefined;
    clock.advance(6001);
    await bench.hub.connection();
  });

  test('goes on after every refusal and says which it was and what to do', async () => {
    const lines: { level: number; code?: string; msg: string }[] = [];
    const logger = pino({}, { write: (line: string) => void lines.push(JSON.parse(line)) });
    const { clock, delayMs } = await startSlowAgent({ logger });
    await bench.hub.connection();
    for (const code of ['unauthorized', 'duplicate_identity', 'a_code_of_tomorrow']) {
      bench.hub.refusal = { code, message: 'no' };
      bench.hub.connections.at(-1)!.socket.disconnect(true);
      clock.advance((await delayMs()) + 1);
      await eventually(() => lines.some((line) => line.code === code));
    }
    bench.hub.refusal = undefined;
    clock.advance((await delayMs()) + 1);
    await bench.hub.connection(1);
    expect(lines.find(({ code }) => code === 'unauthorized')?.msg).toContain('check AGENT_ID');
    expect(JSON.stringify(lines)).not.toContain('secret-key');
  });

  test('gives up a connection that is not welcomed within 10 s', async () => {
    bench.hub.isSilentAtWelcome = true;
    const { clock, delayMs } = await startSlowAgent();
    await eventually(() => bench.hub.openSockets === 1);
    clock.advance(10_000);
    expect(await delayMs()).toBe(1000);
    await eventually(() => bench.hub.openSockets === 0);
  });

  test('comes back after a closing, whatever the reason', async () => {
    await bench.startAgent();
    const codes = ['superseded', 'key_revoked', 'agent_deleted', 'unresponsive'];
    for (const [index, code] of codes.entries()) {
      const { socket } = await bench.hub.connection(index);
      socket.emit('closing', { code, message: 'because' });
      socket.disconnect(true);
    }
    expect((await bench.hub.connection(codes.length)).isOpen).toBe(true);
  });
});

describe('stopping', () => {
  test('leaves no socket and no timer behind, and lets the next process in at once', async () => {
    const clock = new ManualClock();
    const agent = await bench.startAgent({ clock });
    await bench.hub.connection();
    await agent.stop();
    expect(clock.pendingDelays).toEqual([]);
    await eventually(() => bench.hub.openSockets === 0);
    await bench.startAgent();
    await bench.hub.connection(1);
  });

  test('lets short work come to its end and tells its result', async () => {
    const agent = await bench.startAgent();
    const connection = await bench.hub.connection();
    const release = bench.runtime.hold('s1');
    const start = command('start', 's1', 1);
    await connection.commands(start);
    await eventually(() => bench.runtime.ledger.length === 1);
    const stopped = agent.stop();
    release();
    await stopped;
    expect(bench.hub.outcomes.get(start.commandId)).toMatchObject({ status: 'completed' });
  });
});

describe('the journal directory', () => {
  test('is one process’s at a time: the second waits 10 s and then says who has it', async () => {
    await bench.startAgent();
    const clock = new ManualClock();
    const second = createAgent({
      url: bench.hub.url,
      agentId: 'agent-1',
      key: 'secret-key',
      journalDir: bench.journalDir,
      runtime: bench.runtime,
      platform: 'test',
      clock,
    });
    const started = second.start().catch((error: unknown) => error);
    let waitedMs = 0;
    while (waitedMs < 11_000) {
      await eventually(() => clock.pendingDelays.length === 1 || waitedMs >= 10_000);
      clock.advance(200);
      waitedMs += 200;
    }
    expect(await started).toMatchObject({
      code: 'journal_locked',
      message: expect.stringContaining(`process ${process.pid} uses`),
    });
    expect(bench.hub.connections).toHaveLength(1);
  });
});

describe('another installation of the control plane', () => {
  test('gets a journal of its own, and the first one’s is there when the agent returns', async () => {
    await bench.startAgent();
    const first = await bench.hub.connection();
    const start = command('start', 's1', 1);
    await first.commands(start);
    await bench.hub.outcome(start.commandId);

    bench.hub.installationId = 'installation-2';
    first.cut();
    const second = await bench.hub.connection(2);
    expect(second.hello.journalId).not.toBe(first.hello.journalId);
    expect(second.hello.instanceId).toBe(first.hello.instanceId);
    expect(await second.resume(start.commandId)).toMatchObject({
      commands: [{ state: 'unknown' }],
    });

    bench.hub.installationId = 'installation-1';
    second.cut();
    const third = await bench.hub.connection(4);
    expect(third.hello.journalId).toBe(first.hello.journalId);
    expect(await third.resume(start.commandId)).toMatchObject({ commands: [{ state: 'ended' }] });
  });
});
