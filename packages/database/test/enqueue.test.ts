import { setTimeout as delay } from 'node:timers/promises';
import { createTestDatabase, type TestDatabase } from '@streamspace/testkit';
import { commandRowSchema, queryRows } from '../src/index.ts';
import {
  begin,
  change,
  createAgent,
  enqueue,
  newId,
  readQueue,
  start,
  startRunning,
} from './queue-fixture.ts';

let database: TestDatabase;

beforeAll(async () => {
  database = await createTestDatabase({ poolSize: 24 });
});

afterAll(() => database[Symbol.asyncDispose]());

async function readSeqs(agentId: string, after = '0'): Promise<readonly string[]> {
  return database
    .knex('agent_commands')
    .where({ agent_id: agentId })
    .where('seq', '>', after)
    .orderBy('seq')
    .pluck<string[]>('seq');
}

// Property 2.
it('hands out seq without gaps and in the order of the commits, whoever writes and however slowly', async () => {
  const agentId = await createAgent(database.knex);
  const WRITERS = 16;
  const EACH = 20;
  const over = new AbortController();
  const seen: string[] = [];
  const consumer = (async () => {
    while (!over.signal.aborted) seen.push(...(await readSeqs(agentId, seen.at(-1))));
  })();

  await Promise.all(
    Array.from({ length: WRITERS }, async () => {
      for (let n = 0; n < EACH; n += 1) {
        await using writer = await begin(database.knex);
        await enqueue(writer.trx, agentId);
        await delay(Math.random() * 5);
        await writer.trx.commit();
      }
    }),
  );
  over.abort();
  await consumer;
  seen.push(...(await readSeqs(agentId, seen.at(-1))));

  // Had 8 become visible before 7, the consumer would have gone past 7 for good.
  expect(seen).toEqual(Array.from({ length: WRITERS * EACH }, (_, n) => String(n + 1)));
});

it('leaves no gap where a writer gave up', async () => {
  const agentId = await createAgent(database.knex);
  await enqueue(database.knex, agentId);
  await using writer = await begin(database.knex);
  await enqueue(writer.trx, agentId, { count: 3 });
  await writer.trx.rollback();
  await enqueue(database.knex, agentId, { count: 2 });

  expect(await readSeqs(agentId)).toEqual(['1', '2', '3']);
});

// Property 41.
it('keeps a seq beyond what a JavaScript number holds, and the microseconds of a time', async () => {
  const agentId = await createAgent(database.knex);
  await database
    .knex('agent_queues')
    .where({ agent_id: agentId })
    .update({ next_seq: '9007199254740992' });

  const answer = await enqueue(database.knex, agentId, { count: 3 });

  expect(answer.commands?.map((row) => commandRowSchema.parse(row).seq)).toEqual([
    '9007199254740992',
    '9007199254740993',
    '9007199254740994',
  ]);
  const [stored] = await queryRows<{ created: string }>(
    database.knex,
    `select to_char(created_at at time zone 'UTC', 'US') as created from agent_commands where agent_id = :agentId`,
    { agentId },
  );
  const [, microseconds] = /\.(\d+)/.exec(String(answer.commands?.[0]?.['created_at'])) ?? [];
  expect(microseconds?.padEnd(6, '0')).toBe(stored?.created);
});

// Property 40.
describe('a full queue', () => {
  it('refuses what exceeds it and writes nothing', async () => {
    const agentId = await createAgent(database.knex);
    expect(await enqueue(database.knex, agentId, { count: 1000 })).toMatchObject({
      kind: 'accepted',
    });

    expect(await enqueue(database.knex, agentId)).toEqual({ kind: 'queue_full' });

    expect(await readQueue(database.knex, agentId)).toMatchObject({ next_seq: '1001' });
    expect(await readSeqs(agentId)).toHaveLength(1000);
  });

  it('counts what is open, wherever the queue has got to', async () => {
    const agentId = await createAgent(database.knex);
    await enqueue(database.knex, agentId, { count: 10, maxQueued: 10 });
    await database.knex.raw(
      `update agent_commands set status = 'completed', completed_at = now() where agent_id = ? and seq <> 1`,
      [agentId],
    );

    expect(await enqueue(database.knex, agentId, { count: 9, maxQueued: 10 })).toMatchObject({
      kind: 'accepted',
    });
    expect(await enqueue(database.knex, agentId, { maxQueued: 10 })).toEqual({
      kind: 'queue_full',
    });
  });

  it('refuses a start, whatever room there is', async () => {
    const agentId = await createAgent(database.knex);
    await enqueue(database.knex, agentId, { count: 5 });

    expect(await start(database.knex, agentId, { maxQueued: 5 })).toEqual({ kind: 'queue_full' });
    expect(await readQueue(database.knex, agentId)).toMatchObject({ reserved_sessions: 0 });
  });

  it('refuses a hibernate and never a stop', async () => {
    const agentId = await createAgent(database.knex);
    const sessionId = await startRunning(database.knex, agentId);
    await enqueue(database.knex, agentId, { count: 5 });

    expect(
      await change(database.knex, sessionId, 'hibernate_session', { maxQueued: 5 }),
    ).toMatchObject({ kind: 'queue_full' });
    expect(await change(database.knex, sessionId, 'stop_session', { maxQueued: 5 })).toMatchObject({
      kind: 'accepted',
      session: { generation: 2 },
    });
  });

  it('is not what an unknown or a deleted agent is told', async () => {
    const agentId = await createAgent(database.knex);
    await enqueue(database.knex, agentId, { count: 5 });
    await database
      .knex('agent_queues')
      .where({ agent_id: agentId })
      .update({ deleted_at: new Date() });

    expect(await enqueue(database.knex, agentId)).toEqual({ kind: 'not_found' });
    expect(await enqueue(database.knex, 'nobody', { count: 2, maxQueued: 1 })).toEqual({
      kind: 'not_found',
    });
  });
});

// Property 22.
it('accepts one of fifty parallel requests with one idempotency key, and the others leave nothing', async () => {
  const agentId = await createAgent(database.knex);
  const idempotency = {
    principal: 'ada',
    method: 'POST',
    path: '/sessions',
    key: 'once',
    hash: 'h',
  };

  const outcomes = await Promise.allSettled(
    Array.from({ length: 50 }, () => start(database.knex, agentId, { idempotency })),
  );

  const refusals = outcomes.filter((outcome) => outcome.status === 'rejected');
  expect(refusals).toHaveLength(49);
  for (const { reason } of refusals) expect(reason).toMatchObject({ code: '23505' });
  expect(await database.knex('sessions').where({ agent_id: agentId })).toHaveLength(1);
  expect(await readSeqs(agentId)).toEqual(['1']);
  expect(await readQueue(database.knex, agentId)).toMatchObject({
    next_seq: '2',
    reserved_sessions: 1,
  });
  const [key] = await database.knex('idempotency_keys').where({ key: 'once' });
  expect(key).toMatchObject({
    status: 202,
    request_hash: 'h',
    answer: { session: { agent_id: agentId }, command: { seq: '1', action: 'start_session' } },
  });
});

it('keeps an idempotency key per principal, method and path', async () => {
  const agentId = await createAgent(database.knex);
  const key = newId('key');
  for (const [principal, path] of [
    ['ada', '/a'],
    ['ada', '/b'],
    ['bob', '/a'],
  ])
    expect(
      await enqueue(database.knex, agentId, {
        idempotency: { principal, method: 'POST', path, key, hash: 'h' },
      }),
    ).toMatchObject({ kind: 'accepted' });
  expect(await readSeqs(agentId)).toHaveLength(3);
});
