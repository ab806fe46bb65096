import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import type { SessionToStart } from '@streamspace/agent';
import { existsSync, readFileSync } from 'node:fs';
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

function countLit(pixels: Buffer): number {
  let lit = 0;
  for (let at = 0; at < pixels.length; at += 4) if (pixels.readUIntLE(at, 3) > 0) lit += 1;
  return lit;
}

/** How many pixels are not black: a whole frame, raw, by RFB 3.8 without a password. */
async function countLitPixels(port: number): Promise<number> {
  const socket = connect(port, '127.0.0.1');
  const chunks = socket[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
  let buffered = Buffer.alloc(0);
  const read = async (bytes: number): Promise<Buffer> => {
    while (buffered.length < bytes) {
      const next = await chunks.next();
      if (next.done === true) throw new Error('the connection ended');
      buffered = Buffer.concat([buffered, next.value]);
    }
    const taken = buffered.subarray(0, bytes);
    buffered = buffered.subarray(bytes);
    return taken;
  };
  try {
    expect((await read(12)).toString()).toMatch(/^RFB 003/);
    socket.write('RFB 003.008\n');
    await read((await read(1))[0]!);
    socket.write(Buffer.from([1])); // no password
    await read(4);
    socket.write(Buffer.from([1])); // shared
    const size = await read(4);
    const [width, height] = [size.readUInt16BE(0), size.readUInt16BE(2)];
    await read(16);
    await read((await read(4)).readUInt32BE());
    const request = Buffer.from([2, 0, 0, 1, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    request.writeUInt16BE(width, 14);
    request.writeUInt16BE(height, 16);
    socket.write(request);
    const rectangles = (await read(4)).readUInt16BE(2);
    let lit = 0;
    for (let index = 0; index < rectangles; index += 1) {
      const head = await read(12);
      const pixels = await read(head.readUInt16BE(4) * head.readUInt16BE(6) * 4);
      lit += countLit(pixels);
    }
    return lit;
  } finally {
    socket.destroy();
  }
}

describeDesktop('the desktop template (needs Xvnc, openbox and xterm)', () => {
  test('brings up desktops side by side that show a terminal, and a stop leaves nothing', async () => {
    const runtime = await machine.restart();
    const sessions = ['desk-1', 'desk-2'].map(session);
    const started = await Promise.all(sessions.map((one) => runtime.start(one, machine.context)));
    for (const { endpoint } of started) {
      await eventually(async () => (await countLitPixels(endpoint!.port)) > 300_000, 20_000);
    }
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
    const display = /DISPLAY_NUMBER=(\d+)/.exec(
      readFileSync(`/proc/${server}/environ`, 'utf8'),
    )![1]!;
    expect(existsSync(`/tmp/.X${display}-lock`)).toBe(true);
    process.kill(server, 'SIGKILL');
    await eventually(() => machine.observations.length > 0);
    expect(machine.observations).toMatchObject([{ state: 'failed', code: 'process_exited' }]);
    expect(existsSync(`/tmp/.X${display}-lock`)).toBe(false);
    expect(machine.processes()).toEqual([]);
  }, 60_000);
});

test('the machine has what the desktop template needs, or its tests are skipped', () => {
  if (!isThere) process.stderr.write('SKIPPED: no Xvnc, openbox and xterm: desktops not tested\n');
  expect(typeof isThere).toBe('boolean');
});
