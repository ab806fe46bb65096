import { createTestDatabase, type TestDatabase } from '@streamspace/testkit';
import { DeliveryStore } from '../src/delivery-store.ts';
import type { CommandQueue } from '../src/index.ts';
import { finishCommands } from '../src/result-recorder.ts';
import { createTestAgent, readCommands } from './test-node.ts';
import { begin, createTestQueue, mintEpoch } from './test-queue.ts';
import { pings } from './two-nodes.ts';

// R9, K5: `head_seq` may lag, it must never lead.

let database: TestDatabase;
let queue: CommandQueue;
let store: DeliveryStore;

beforeAll(async () => {
  database = await createTestDatabase({ poolSize: 12 });
  queue = createTestQueue(database.knex);
  store = new DeliveryStore(database.knex, 'a');
});

afterAll(() => database[Symbol.asyncDispose]());

async function readHead(agentId: string): Promise<number> {
  const row: { head_seq: string } = await database
    .knex('agent_queues')
    .where({ agent_id: agentId })
    .first('head_seq');
  return Number(row.head_seq);
}

/** Claims and completes; answers with the highest seq that was claimed. */
async function work(agentId: string, epoch: number, window = 1000): Promise<bigint> {
  const claimed = await store.claim([{ agentId, epoch, window }]);
  await finishCommands(
    database.knex,
    claimed.map(({ command: { commandId } }) => ({ commandId, outcome: { status: 'completed' } })),
  );
  return claimed.at(-1)?.seq ?? 0n;
}

it('does not pass a command that is being enqueued, and that is claimed afterwards', async () => {
  await createTestAgent(database.knex, 'enqueuing');
  const epoch = await mintEpoch(database.knex, 'enqueuing');
  await queue.enqueueAgentCommands({ agentId: 'enqueuing', action: 'ping', payloads: pings(60) });
  const claimedSeq = await work('enqueuing', epoch);
  await using writer = await begin(database.knex);
  await createTestQueue(writer.trx).enqueueAgentCommands({
    agentId: 'enqueuing',
    action: 'ping',
    payloads: pings(1),
  });

  await store.advanceHeads([{ agentId: 'enqueuing', claimedSeq }]);
  expect(await readHead('enqueuing')).toBeLessThanOrEqual(60);
  await writer.trx.commit();
  await store.advanceHeads([{ agentId: 'enqueuing', claimedSeq }]);

  expect(await readHead('enqueuing')).toBe(60);
  expect(await store.claim([{ agentId: 'enqueuing', epoch, window: 8 }])).toMatchObject([
    { seq: 61n },
  ]);
});

it('stops before what is still open, and never goes back', async () => {
  await createTestAgent(database.knex, 'one-slow');
  const epoch = await mintEpoch(database.knex, 'one-slow');
  await queue.enqueueAgentCommands({ agentId: 'one-slow', action: 'ping', payloads: pings(200) });
  const claimed = await store.claim([{ agentId: 'one-slow', epoch, window: 1000 }]);
  await finishCommands(
    database.knex,
    claimed
      .filter(({ seq }) => seq !== 120n)
      .map(({ command: { commandId } }) => ({ commandId, outcome: { status: 'completed' } })),
  );

  await store.advanceHeads([{ agentId: 'one-slow', claimedSeq: 200n }]);
  expect(await readHead('one-slow')).toBe(119);
  await store.advanceHeads([{ agentId: 'one-slow', claimedSeq: 20n }]);
  expect(await readHead('one-slow')).toBe(119);
});

it('never leads while commands are enqueued, claimed and finished all at once', async () => {
  await createTestAgent(database.knex, 'busy');
  const epoch = await mintEpoch(database.knex, 'busy');
  const TOTAL = 1600;
  const over = new AbortController();
  let claimedSeq = 0n;
  const heads = (async () => {
    while (!over.signal.aborted) await store.advanceHeads([{ agentId: 'busy', claimedSeq }]);
  })();
  const owner = (async () => {
    while (claimedSeq < TOTAL) {
      const seq = await work('busy', epoch, 64);
      if (seq > claimedSeq) claimedSeq = seq;
    }
  })();

  await Promise.all(
    Array.from({ length: 8 }, async () => {
      for (let n = 0; n < TOTAL / 8 / 5; n += 1)
        await queue.enqueueAgentCommands({ agentId: 'busy', action: 'ping', payloads: pings(5) });
    }),
  );
  // Had the head led once, what it passed would never be claimed and this would not end.
  await owner;
  over.abort();
  await heads;

  expect((await readCommands(database.knex, 'busy')).every((c) => c.status === 'completed')).toBe(
    true,
  );
});
