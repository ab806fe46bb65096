import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createAgent, type Agent } from '@streamspace/agent';
import { waitUntil } from '@streamspace/local-stack';
import type { WireCommand } from '@streamspace/protocol';
import { LedgerRuntime, readLedger, sessionsOf, type LedgerEntry } from '@streamspace/testkit';
import { showFigures } from './figures.ts';
import { ScriptedHub } from './scripted-hub.ts';

const SESSIONS = 60;
const TIMES = 10;
const LARGEST_FRAME = 20;

let directory: string;
let hub: ScriptedHub;
let agent: Agent;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'streamspace-repeats-'));
  hub = await new ScriptedHub().listen();
  agent = await startAgent();
});

afterEach(async () => {
  await agent.stop();
  await hub[Symbol.asyncDispose]();
  await rm(directory, { recursive: true, force: true });
});

async function startAgent(): Promise<Agent> {
  const runtime = new LedgerRuntime({
    path: join(directory, 'ledger.jsonl'),
    startDelayMs: 5,
    epoch: () => started.stats.highestEpoch,
  });
  const started = createAgent({
    url: hub.url,
    agentId: 'agent-1',
    key: 'secret',
    journalDir: join(directory, 'journal'),
    runtime,
    // The lowest jitter: connects again at once.
    random: () => 0,
  });
  await started.start();
  return started;
}

function command(action: 'start' | 'stop', session: number, generation: number): WireCommand {
  return {
    commandId: `${action}-${session}`,
    attempt: 1,
    sessionId: `session-${session}`,
    generation,
    action: `${action}_session`,
    payload: action === 'start' ? startPayload : {},
  };
}

const startPayload = {
  template: 'hello-web',
  userId: 'u1',
  protocol: 'http',
  ports: [{ name: 'web', port: 8080 }],
  platform: { command: ['true'] },
  resources: {},
  env: {},
};

function shuffled<T>(values: readonly T[]): T[] {
  const left = [...values];
  return values.map(() => left.splice(Math.floor(Math.random() * left.length), 1)[0]!);
}

/** Each command `TIMES` times, in random order, in frames of random size. */
function toFrames(commands: readonly WireCommand[]): WireCommand[][] {
  const all = shuffled(Array.from({ length: TIMES }, () => commands).flat());
  const frames: WireCommand[][] = [];
  while (all.length > 0) frames.push(all.splice(0, 1 + Math.floor(Math.random() * LARGEST_FRAME)));
  return frames;
}

/** With a cut connection after a third, and another process of the agent (its journal opened anew) after two. */
async function deliver(commands: readonly WireCommand[]): Promise<void> {
  const frames = toFrames(commands);
  const third = Math.floor(frames.length / 3);
  for (const [index, frame] of frames.entries()) {
    if (index === third)
      await hub.reconnected(({ conn }) => {
        conn.close();
      });
    if (index === 2 * third)
      await hub.reconnected(async () => {
        await agent.stop();
        agent = await startAgent();
      });
    await hub.deliver(frame);
  }
  const ids = new Set(commands.map(({ commandId }) => commandId));
  await waitUntil(() => new Set(hub.results.map(({ commandId }) => commandId)).size === ids.size, {
    what: 'every command has a result',
  });
  await waitUntil(() => agent.stats.unconfirmedResults === 0, { what: 'all are confirmed' });
}

function ledger(): LedgerEntry[] {
  return readLedger(join(directory, 'ledger.jsonl'));
}

/** How often each command has had an effect. */
function countEffects(): number[] {
  const counts = new Map<string, number>();
  for (const entry of ledger())
    if (entry.kind === 'effect')
      counts.set(entry.commandId, (counts.get(entry.commandId) ?? 0) + 1);
  return [...counts.values()];
}

/** Commands that were answered in more than one way. */
function contradictions(): string[] {
  const answers = new Map<string, Set<string>>();
  for (const { commandId, outcome } of hub.results) {
    const known = answers.get(commandId) ?? new Set();
    answers.set(commandId, known.add(`${outcome.status} ${outcome.errorCode ?? ''}`));
  }
  return [...answers].flatMap(([commandId, known]) => (known.size > 1 ? [commandId] : []));
}

function show(what: string, commands: readonly WireCommand[]): void {
  showFigures(`F24 ${what}`, {
    commands: commands.length,
    deliveries: commands.length * TIMES,
    effects: countEffects().length,
    'results sent': hub.results.length,
  });
}

it('F24: starts that are delivered ten times in random order, over cut connections and a restart, have one effect each', async () => {
  const commands = Array.from({ length: SESSIONS }, (_, n) => command('start', n, 1));
  await deliver(commands);
  show('starts', commands);
  expect(countEffects()).toEqual(commands.map(() => 1));
  expect(sessionsOf(ledger()).size).toBe(SESSIONS);
  expect(contradictions()).toEqual([]);
}, 60_000);

it('F23, F24: starts and their stops, ten times each, the stop before the start as often as after it: nothing is resurrected', async () => {
  const commands = Array.from({ length: SESSIONS }, (_, n) => [
    command('start', n, 1),
    command('stop', n, 2),
  ]).flat();
  await deliver(commands);
  show('starts and stops', commands);
  expect(countEffects().every((count) => count === 1)).toBe(true);
  expect(sessionsOf(ledger()).size).toBe(0);
  expect(contradictions()).toEqual([]);
  const stops = hub.results.filter(({ commandId }) => commandId.startsWith('stop'));
  expect(new Set(stops.map(({ outcome }) => outcome.status))).toEqual(new Set(['completed']));
}, 60_000);
