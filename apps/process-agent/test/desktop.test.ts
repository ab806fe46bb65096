import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import type { SessionToStart } from '@streamspace/agent';
import { once } from 'node:events';
import { connect } from 'node:net';
import { hasCommands } from '../src/machine/has-commands.ts';
import { eventually } from './eventually.ts';
import { desktop } from './templates.ts';
import { createTestMachine, specOf, type TestMachine } from './test-runtime.ts';

const isThere = hasCommands(['Xvnc', 'openbox', 'xterm'], process.env['PATH']);
const describeDesktop = isThere ? describe : describe.skip;

let machine: TestMachine;
beforeEach(async () => {
  machine = await createTestMachine({ readyWithinMs: 20_000 });
});
afterEach(() => machine.cleanUp());

function session(sessionId: string): SessionToStart {
  const platform = desktop.platforms['process']!;
  const spec = specOf([], { protocol: 'vnc', ports: desktop.ports, platform });
  return { sessionId, generation: 1, commandId: 'cmd_1', spec };
}

/** What an RFB server says first. */
async function greeting(port: number): Promise<string> {
  const socket = connect(port, '127.0.0.1');
  const [bytes] = (await once(socket, 'data')) as [Buffer];
  socket.destroy();
  return bytes.toString();
}

describeDesktop('the desktop template (needs Xvnc, openbox and xterm)', () => {
  test('brings up desktops side by side that speak RFB, and a stop leaves nothing', async () => {
    const runtime = await machine.restart();
    const sessions = ['desk-1', 'desk-2'].map(session);
    const started = await Promise.all(sessions.map((one) => runtime.start(one, machine.context)));
    for (const { endpoint } of started) expect(await greeting(endpoint!.port)).toMatch(/^RFB 003/);
    // Shell, Xvnc, openbox, xterm and its shell, each twice.
    await eventually(() => machine.processes().length >= 10);
    await Promise.all(sessions.map((one) => runtime.stop(one)));
    expect(machine.processes()).toEqual([]);
  }, 60_000);

  test('ends as a whole when the X server dies', async () => {
    const runtime = await machine.restart();
    await runtime.start(session('desk-1'), machine.context);
    await eventually(() => machine.processes().length >= 5);
    const [leader] = machine.processes().toSorted((left, right) => left - right);
    const server = machine.processes().toSorted((left, right) => left - right)[1]!;
    expect(server).toBeGreaterThan(leader!);
    process.kill(server, 'SIGKILL');
    await eventually(() => machine.observations.length > 0);
    expect(machine.observations).toMatchObject([{ state: 'failed', code: 'process_exited' }]);
    expect(machine.processes()).toEqual([]);
  }, 60_000);
});

test('the machine has what the desktop template needs, or its tests are skipped', () => {
  if (!isThere) process.stderr.write('SKIPPED: no Xvnc, openbox and xterm: desktops not tested\n');
  expect(typeof isThere).toBe('boolean');
});
