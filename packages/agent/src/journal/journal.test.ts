import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import type { WireCommand } from '@streamspace/protocol';
import { mkdtemp, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { systemClock } from '../clock.ts';
import { Journal } from './journal.ts';

let directory: string;
let path: string;
let now = 1_700_000_000_000;
const clock = { ...systemClock, now: () => now };

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'journal-test-'));
  path = join(directory, 'journal.log');
});
afterEach(() => rm(directory, { recursive: true }));

function openJournal(): Promise<Journal> {
  return Journal.open({ path, clock, logger: pino({ enabled: false }) });
}

function startOf(sessionId: string, changes: Partial<WireCommand> = {}): WireCommand {
  const payload = {
    template: 'hello',
    userId: 'user-1',
    protocol: 'http',
    ports: [{ name: 'web', port: 8080 }],
    platform: { command: ['true'] },
    resources: {},
    env: { TOKEN: 'secret' },
  };
  return {
    commandId: `cmd_${sessionId}`,
    attempt: 1,
    sessionId,
    generation: 1,
    action: 'start_session',
    payload,
    ...changes,
  };
}

async function carryOut(journal: Journal, command: WireCommand): Promise<void> {
  await journal.receive([command]);
  await journal.begin(command.commandId);
  await journal.end([{ commandId: command.commandId, outcome: { status: 'completed' } }]);
  await journal.confirm([command.commandId]);
}

describe('a journal', () => {
  test('knows after a restart what it knew before', async () => {
    const journal = await openJournal();
    await carryOut(journal, startOf('s1'));
    await journal.receive([startOf('s2')]);
    await journal.begin('cmd_s2');
    const before = [journal.records(), journal.session('s1'), journal.session('s2')];
    await journal.close();
    const again = await openJournal();
    expect([again.records(), again.session('s1'), again.session('s2')]).toEqual(before);
    expect(again.journalId).toBe(journal.journalId);
    expect(again.find('cmd_s2')).toMatchObject({ state: 'held', begunBoots: new Set([1]) });
    await again.close();
  });

  test('writes what is appended together with one fsync', async () => {
    const journal = await openJournal();
    const before = journal.fsyncs;
    await Promise.all(Array.from({ length: 100 }, (_, i) => journal.receive([startOf(`s${i}`)])));
    expect(journal.fsyncs - before).toBe(1);
    await journal.close();
  });

  test('survives being cut off at any byte', async () => {
    const journal = await openJournal();
    await carryOut(journal, startOf('s1'));
    await carryOut(journal, startOf('s2'));
    await journal.close();
    const text = await readFile(path);
    const { journalId } = journal;
    const firstLineBytes = text.indexOf('\n');
    for (let length = text.length; length >= 0; length -= 37) {
      await truncate(path, length);
      const again = await openJournal();
      // Shorter than its first line it is no journal yet.
      expect(again.journalId === journalId).toBe(length > firstLineBytes);
      await again.receive([startOf('new')]);
      await again.close();
      const last = await openJournal();
      expect(last.find('cmd_new')?.state).toBe('held');
      await last.close();
      await rm(path);
      await writeFile(path, text);
    }
  });

  test('stays small, and keeps what is open, the outcomes and the tombstones', async () => {
    const journal = await openJournal();
    await journal.receive([startOf('open')]);
    await journal.begin('cmd_open');
    for (let index = 0; index < 1500; index += 1) {
      const sessionId = `s${index}`;
      await carryOut(journal, startOf(sessionId));
      const stop = { commandId: `stop_${sessionId}`, generation: 2, action: 'stop_session' };
      await carryOut(journal, startOf(sessionId, { ...stop, payload: {} }));
    }
    expect((await stat(path)).size).toBeLessThan(2_000_000); // written: some 4 MB
    expect(journal.session('s0')).toMatchObject({ generation: 2, isGone: true, spec: undefined });
    await journal.close();
    const again = await openJournal();
    expect(again.find('cmd_open')).toMatchObject({ state: 'held', begunBoots: new Set([1]) });
    expect(again.session('open')).toMatchObject({ generation: 1, isGone: false });
    expect(again.find('cmd_s0')).toMatchObject({ state: 'ended' });
    expect(again.session('s1499')).toMatchObject({ generation: 2, isGone: true });
    await again.close();
  }, 30_000);

  test('forgets what was confirmed a day ago, and no secret outlives its session', async () => {
    const journal = await openJournal();
    await carryOut(journal, startOf('s1'));
    await carryOut(
      journal,
      startOf('s1', { commandId: 'stop', generation: 2, action: 'stop_session', payload: {} }),
    );
    now += 25 * 3_600_000;
    for (let index = 0; index < 600; index += 1) {
      const padding = { payload: { padding: 'x'.repeat(1000) }, generation: 1 };
      await carryOut(journal, startOf(`t${index}`, padding));
    }
    expect(journal.find('cmd_s1')).toBeUndefined();
    expect(journal.session('s1')).toBeUndefined();
    expect(await readFile(path, 'utf8')).not.toContain('secret');
    await journal.close();
  }, 30_000);
});
