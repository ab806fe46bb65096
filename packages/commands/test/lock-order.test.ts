import { connectDatabase, sqlStateOf } from '@streamspace/database';
import { createTestDatabase, type TestDatabase } from '@streamspace/testkit';
import type { Knex } from 'knex';
import { DeliveryStore, type ClaimedCommand } from '../src/delivery-store.ts';
import { finishCommands } from '../src/result-recorder.ts';
import { createTestAgent, createTestUser } from './test-node.ts';
import { createTestQueue, mintEpoch } from './test-queue.ts';
import { pings, startTestSession } from './two-nodes.ts';

const AGENTS = ['storm-1', 'storm-2', 'storm-3'];
const CONNECTIONS = 8;
const STORM_MS = 5000;

let database: TestDatabase;
let connections: Knex[];

beforeAll(async () => {
  database = await createTestDatabase();
  await createTestUser(database.knex, 'ada');
  for (const agentId of AGENTS) await createTestAgent(database.knex, agentId, { maxSessions: 25 });
  connections = Array.from({ length: CONNECTIONS }, (_, n) =>
    connectDatabase({ url: database.url, applicationName: `storm-${n}`, poolSize: 1 }),
  );
  // A deadlock is to show as one, not as a lock that took too long: both are noticed after a second.
  for (const connection of connections) await connection.raw(`set lock_timeout = '5s'`);
});

afterAll(async () => {
  await Promise.all(connections.map((connection) => connection.destroy()));
  await database[Symbol.asyncDispose]();
});

function pick<T>(items: readonly T[]): T {
  return items[Math.floor(Math.random() * items.length)]!;
}

function shuffled<T>(items: readonly T[]): T[] {
  return items
    .map((item) => ({ item, at: Math.random() }))
    .toSorted((a, b) => a.at - b.at)
    .map(({ item }) => item);
}

/** What all connections know together: they act on the same commands and sessions at the same time. */
class Storm {
  readonly done = new Map<string, number>();
  readonly errors: { action: string; state: string | undefined; message: string }[] = [];
  readonly #epochs = new Map<string, number>();
  readonly #sessions: string[] = [];
  readonly #claimed: ClaimedCommand[] = [];
  #count = 0;

  async run(db: Knex, endsAt: number): Promise<void> {
    const actions = this.#actionsOf(db);
    while (performance.now() < endsAt) {
      const [name, act] = pick(actions);
      try {
        await act();
        this.done.set(name, (this.done.get(name) ?? 0) + 1);
      } catch (error) {
        this.errors.push({ action: name, state: sqlStateOf(error), message: String(error) });
      }
    }
  }

  #actionsOf(db: Knex): [name: string, act: () => Promise<unknown>][] {
    const queue = createTestQueue(db);
    const store = new DeliveryStore(db, 'storm');
    const some = (): ClaimedCommand[] => shuffled(this.#claimed.slice(-60)).slice(0, 20);
    const owned = (): { agentId: string; epoch: number; window: number }[] =>
      shuffled(AGENTS).map((agentId) => ({
        agentId,
        epoch: this.#epochs.get(agentId) ?? 0,
        window: 30,
      }));
    return [
      [
        'enqueue',
        () =>
          queue.enqueueAgentCommands({ agentId: pick(AGENTS), action: 'ping', payloads: pings(3) }),
      ],
      ['start', () => this.#start(db)],
      ['start', () => this.#start(db)],
      ['stop', () => this.#change(db, 'stop_session')],
      ['stop', () => this.#change(db, 'stop_session')],
      ['hibernate', () => this.#change(db, 'hibernate_session')],
      ['wake', () => this.#change(db, 'wake_session')],
      ['claim', async () => this.#claimed.push(...(await store.claim(owned())))],
      ['claim', async () => this.#claimed.push(...(await store.claim(owned())))],
      [
        'ack',
        () =>
          store.acknowledge(
            some().map(({ command: { commandId, attempt }, epoch }) => ({
              commandId,
              attempt,
              epoch,
            })),
          ),
      ],
      [
        'finish',
        () =>
          finishCommands(
            db,
            some().map(({ command: { commandId } }) => ({
              commandId,
              outcome: { status: Math.random() < 0.8 ? 'completed' : 'failed' },
            })),
          ),
      ],
      [
        'expire',
        () =>
          finishCommands(
            db,
            some().map(({ command: { commandId } }) => ({
              commandId,
              outcome: { status: 'expired', errorCode: 'expired', errorMessage: 'Too late.' },
            })),
            { unsentOnly: true },
          ),
      ],
      ['cancel', async () => queue.cancel(some()[0]?.command.commandId ?? 'none')],
      ['mint and resume', () => this.#takeOver(db, pick(AGENTS))],
      [
        'advance heads',
        () => store.advanceHeads(owned().map(({ agentId }) => ({ agentId, claimedSeq: 10n }))),
      ],
      ['recount', async () => db.raw('select recount_room()')],
      [
        'vanish',
        async () =>
          db.raw('select fail_sessions(:entries::jsonb)', {
            entries: JSON.stringify(
              AGENTS.flatMap((agent_id) =>
                shuffled(this.#sessions.slice(-10)).map((session_id) => ({
                  session_id,
                  agent_id,
                  generation: 1,
                  code: 'vanished',
                  message: 'Gone.',
                })),
              ),
            ),
          }),
      ],
    ];
  }

  async #start(db: Knex): Promise<void> {
    this.#count += 1;
    const sessionId = `ses-storm-${this.#count}`;
    await startTestSession({ queue: createTestQueue(db) }, pick(AGENTS), sessionId).catch(
      (error: unknown) => {
        if (!(error instanceof Error) || error.message !== 'no_room') throw error;
      },
    );
    this.#sessions.push(sessionId);
  }

  async #change(
    db: Knex,
    action: 'stop_session' | 'hibernate_session' | 'wake_session',
  ): Promise<void> {
    const sessionId = pick(this.#sessions.slice(-30));
    if (sessionId) await createTestQueue(db).changeSession({ sessionId, action });
  }

  async #takeOver(db: Knex, agentId: string): Promise<void> {
    const store = new DeliveryStore(db, 'storm');
    const epoch = await mintEpoch(db, agentId);
    const asked = shuffled(await store.listUnresolved({ agentId, epoch }));
    const half = Math.ceil(asked.length / 2);
    await store.settleResumed({
      agentId,
      epoch,
      held: asked.slice(0, half).map(({ commandId }) => commandId),
      unknown: asked.slice(half).map(({ commandId }) => commandId),
      alone: 0,
      journalChanged: false,
    });
    this.#epochs.set(agentId, epoch);
  }
}

// K8, K9, R3, property 36 at the length of a test.
it('nothing deadlocks in a storm of everything on the same agents', async () => {
  const storm = new Storm();
  const endsAt = performance.now() + STORM_MS;

  await Promise.all(connections.map((connection) => storm.run(connection, endsAt)));

  expect(storm.errors).toEqual([]);
  for (const [name, count] of storm.done) expect([name, count > 10]).toEqual([name, true]);
  const { rowCount } = await database.knex.raw<{ rowCount: number }>('select recount_room()');
  expect(rowCount).toBe(0);
  const full = await database.knex('agent_queues').where('reserved_sessions', '>', 25);
  expect(full).toEqual([]);
  const gaps = await database.knex.raw<{ rows: unknown[] }>(
    `select agent_id from agent_commands group by agent_id having count(*) <> max(seq) or min(seq) <> 1`,
  );
  expect(gaps.rows).toEqual([]);
  const doubled = await database.knex.raw<{ rows: unknown[] }>(
    `select session_id from agent_commands where completed_at is null
     group by session_id having session_id is not null
       and count(*) filter (where cancel_requested_at is null) > 1`,
  );
  expect(doubled.rows).toEqual([]);
}, 20_000);
