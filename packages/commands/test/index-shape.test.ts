import { connectForMigration, queryRows } from '@streamspace/database';
import { createTestDatabase, type TestDatabase } from '@streamspace/testkit';
import type { Knex } from 'knex';
import { DeliveryStore } from '../src/delivery-store.ts';
import { finishCommands } from '../src/result-recorder.ts';
import { createTestAgent } from './test-node.ts';
import { createTestQueue, mintEpoch } from './test-queue.ts';
import { pings } from './two-nodes.ts';

let database: TestDatabase;

beforeAll(async () => {
  database = await createTestDatabase();
});

afterAll(() => database[Symbol.asyncDispose]());

// Property 33.
it('has no index that names what a claim or an ack writes', async () => {
  const indexes = await database
    .knex('pg_indexes')
    .where({ schemaname: 'public', tablename: 'agent_commands' })
    .select('indexname', 'indexdef');
  const shapes = indexes.filter(({ indexdef }) =>
    /\b(status|attempt|sent_epoch|sent_by|updated_at|sent_at|acknowledged_at|cancel_requested_at|solo_deliveries)\b/.test(
      String(indexdef),
    ),
  );
  expect(shapes).toEqual([]);
});

interface Counters {
  readonly updated: number;
  readonly hot: number;
}

async function readCounters(db: Knex, table: string): Promise<Counters> {
  await db.raw('select pg_stat_force_next_flush()');
  const [row] = await queryRows<{ updated: string; hot: string }>(
    db,
    'select n_tup_upd as updated, n_tup_hot_upd as hot from pg_stat_user_tables where relname = :table',
    { table },
  );
  return { updated: Number(row?.updated), hot: Number(row?.hot) };
}

const AGENTS = 20;
const EACH = 1000;

/** Every command of every agent from its enqueuing to its end, in batches. */
async function carryOut(db: Knex): Promise<void> {
  const queue = createTestQueue(db);
  const store = new DeliveryStore(db, 'a');
  const owned: { agentId: string; epoch: number; window: number }[] = [];
  for (let n = 0; n < AGENTS; n += 1) {
    const agentId = `shaped-${n}`;
    await createTestAgent(db, agentId);
    owned.push({ agentId, epoch: await mintEpoch(db, agentId), window: 32 });
  }
  for (let enqueued = 0; enqueued < EACH; enqueued += 25) {
    for (const { agentId } of owned)
      await queue.enqueueAgentCommands({ agentId, action: 'ping', payloads: pings(25) });
    const claimed = await store.claim(owned);
    await store.acknowledge(
      claimed.map(({ command: { commandId, attempt }, epoch }) => ({ commandId, attempt, epoch })),
    );
    await finishCommands(
      db,
      claimed.map(({ command: { commandId } }) => ({
        commandId,
        outcome: { status: 'completed', result: {} },
      })),
    );
    await store.advanceHeads(
      owned.map(({ agentId }) => ({ agentId, claimedSeq: BigInt(enqueued + 25) })),
    );
  }
}

it('keeps two of three updates heap-only, and those of the queue row all', async () => {
  const db = connectForMigration({ url: database.url, applicationName: 'shape', poolSize: 1 });
  // An analyse in the middle would be an old snapshot; that is the next test.
  await db.raw('alter table agent_commands set (autovacuum_enabled = false)');
  await db.raw('alter table agent_queues set (autovacuum_enabled = false)');

  await carryOut(db);

  const commands = await readCounters(db, 'agent_commands');
  expect(commands.updated).toBe(3 * AGENTS * EACH);
  expect(commands.hot / commands.updated).toBeGreaterThanOrEqual(0.6);
  const queues = await readCounters(db, 'agent_queues');
  expect(queues.hot / queues.updated).toBeGreaterThanOrEqual(0.9);
  await db.destroy();
});

it('keeps two of three updates heap-only while an old snapshot keeps all versions', async () => {
  await using held = await createTestDatabase();
  const db = connectForMigration({ url: held.url, applicationName: 'shape', poolSize: 1 });
  const reader = connectForMigration({ url: held.url, applicationName: 'reader', poolSize: 1 });
  const snapshot = await reader.transaction({ isolationLevel: 'repeatable read' });
  await snapshot('agents').first('agent_id');

  await carryOut(db);

  const commands = await readCounters(db, 'agent_commands');
  expect(commands.updated).toBe(3 * AGENTS * EACH);
  expect(commands.hot / commands.updated).toBeGreaterThanOrEqual(0.6);
  await snapshot.rollback();
  await reader.destroy();
  await db.destroy();
});
