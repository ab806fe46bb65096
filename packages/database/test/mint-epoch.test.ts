import { createTestDatabase, type TestDatabase } from '@streamspace/testkit';
import { callFunction } from '../src/index.ts';
import {
  begin,
  createAgent,
  enqueue,
  markSent,
  readCommand,
  readQueue,
  untilBlocked,
} from './queue-fixture.ts';
import type { Knex } from 'knex';

let database: TestDatabase;

beforeAll(async () => {
  database = await createTestDatabase();
});

afterAll(() => database[Symbol.asyncDispose]());

interface Minted {
  readonly kind: string;
  readonly epoch?: number;
  readonly retryAfterMs?: number;
  readonly previousOwnerBootId?: string | null;
  readonly journalChanged?: boolean;
}

async function mint(
  db: Knex,
  agentId: string,
  more: Readonly<Record<string, unknown>> = {},
): Promise<Minted> {
  return (await callFunction(db, 'mint_epoch', {
    agentId,
    bootId: 'boot-1',
    connectionId: 'connection',
    keyId: 'key',
    highestEpoch: 0,
    instanceId: 'instance',
    journalId: 'journal',
    ...more,
  })) as Minted;
}

async function readNotice(agentId: string): Promise<unknown> {
  const [code] = await database
    .knex('agents')
    .where({ agent_id: agentId })
    .pluck<unknown[]>('notice_code');
  return code;
}

it('counts up by one, names the owner before, and says whether the journal is another', async () => {
  const agentId = await createAgent(database.knex);
  expect(await mint(database.knex, agentId)).toEqual({
    kind: 'minted',
    epoch: 1,
    previousOwnerBootId: null,
    journalChanged: false,
  });
  expect(await mint(database.knex, agentId, { bootId: 'boot-2', journalId: 'another' })).toEqual({
    kind: 'minted',
    epoch: 2,
    previousOwnerBootId: 'boot-1',
    journalChanged: true,
  });
  expect(await readQueue(database.knex, agentId)).toMatchObject({
    owner_boot_id: 'boot-2',
    journal_id: 'another',
    disconnected_at: null,
  });
});

// R8.
it('goes past what the agent has seen, so a database restored from a backup leaves none deaf', async () => {
  const agentId = await createAgent(database.knex);
  await database.knex('agent_queues').where({ agent_id: agentId }).update({ connection_epoch: 12 });

  expect(await mint(database.knex, agentId, { highestEpoch: 40 })).toMatchObject({ epoch: 41 });
  expect(await mint(database.knex, agentId, { highestEpoch: 12 })).toMatchObject({ epoch: 42 });
});

it('gives every one of many at once an epoch of its own, without a gap', async () => {
  const agentId = await createAgent(database.knex);
  const minted = await Promise.all(Array.from({ length: 20 }, () => mint(database.knex, agentId)));
  expect(minted.map(({ epoch }) => epoch).toSorted((a, b) => Number(a) - Number(b))).toEqual(
    Array.from({ length: 20 }, (_, n) => n + 1),
  );
});

it('resets no command: what was sent waits for the agent’s own word', async () => {
  const agentId = await createAgent(database.knex);
  await mint(database.knex, agentId);
  const { commands } = await enqueue(database.knex, agentId);
  const commandId = String(commands?.[0]?.['command_id']);
  await markSent(database.knex, [commandId], 1);
  const before = await readCommand(database.knex, commandId);

  await mint(database.knex, agentId);

  expect(await readCommand(database.knex, commandId)).toEqual(before);
});

// K4.
it('waits for a claim in flight, and an enqueue waits for neither', async () => {
  const agentId = await createAgent(database.knex);
  await using claim = await begin(database.knex);
  await claim.trx.raw('select from agent_queues where agent_id = ? for key share', [agentId]);
  expect(await enqueue(database.knex, agentId)).toMatchObject({ kind: 'accepted' });
  await using minting = await begin(database.knex);

  const minted = mint(minting.trx, agentId);
  await untilBlocked(database.knex, minting.pid);
  await claim.trx.commit();

  expect(await minted).toMatchObject({ kind: 'minted', epoch: 1 });
  await minting.trx.commit();
});

it('mints nothing for an agent that is deleted or unknown', async () => {
  const agentId = await createAgent(database.knex);
  await database
    .knex('agent_queues')
    .where({ agent_id: agentId })
    .update({ deleted_at: new Date() });
  expect(await mint(database.knex, agentId)).toEqual({ kind: 'not_found' });
  expect(await mint(database.knex, 'nobody')).toEqual({ kind: 'not_found' });
});

// R17.
describe('two hosts with one identity', () => {
  const one = { instanceId: 'one' };
  const two = { instanceId: 'two' };

  it('the one whose last inventory had sessions is kept, though it was not the first', async () => {
    const agentId = await createAgent(database.knex);
    await mint(database.knex, agentId, one);
    await mint(database.knex, agentId, two);
    await database
      .knex('agent_queues')
      .where({ agent_id: agentId })
      .update({ inventory_instance_id: 'two' });
    await mint(database.knex, agentId, one);

    expect(await mint(database.knex, agentId, two)).toMatchObject({ kind: 'minted' });
    const refused = await mint(database.knex, agentId, one);

    expect(refused.kind).toBe('refused');
    expect(refused.retryAfterMs).toBeGreaterThan(290_000);
    expect(refused.retryAfterMs).toBeLessThanOrEqual(300_000);
    expect(await readQueue(database.knex, agentId)).toMatchObject({
      instance_id: 'two',
      refused_instance_id: 'one',
    });
    expect(await readNotice(agentId)).toBe('duplicate_identity');
  });

  it('the first is kept when neither has sessions', async () => {
    const agentId = await createAgent(database.knex);
    await mint(database.knex, agentId, one);
    await mint(database.knex, agentId, two);
    await mint(database.knex, agentId, one);

    expect(await mint(database.knex, agentId, two)).toMatchObject({ kind: 'refused' });
    expect(await mint(database.knex, agentId, one)).toMatchObject({ kind: 'minted' });
    expect(await readQueue(database.knex, agentId)).toMatchObject({ connection_epoch: '4' });
  });

  it('the refusal is twice as long the next time, and ends', async () => {
    const agentId = await createAgent(database.knex);
    const takeOver = async (): Promise<Minted> => {
      await mint(database.knex, agentId, one);
      await mint(database.knex, agentId, two);
      await mint(database.knex, agentId, one);
      return mint(database.knex, agentId, two);
    };
    await takeOver();
    await database.knex.raw(
      `update agent_queues set refused_until = now() - interval '1 second', takeovers_since = null where agent_id = ?`,
      [agentId],
    );

    expect(await mint(database.knex, agentId, two)).toMatchObject({ kind: 'minted' });
    expect(await readNotice(agentId)).toBeNull();
    await mint(database.knex, agentId, one);
    await mint(database.knex, agentId, two);
    const [longest] = (
      await Promise.all([mint(database.knex, agentId, one), mint(database.knex, agentId, two)])
    )
      .map(({ retryAfterMs = 0 }) => retryAfterMs)
      .toSorted((a, b) => b - a);

    expect(longest).toBeGreaterThan(590_000);
  });

  it('an agent that moves, restarts or was cut off long ago is not taken for two', async () => {
    const agentId = await createAgent(database.knex);
    for (let n = 0; n < 8; n += 1)
      expect(await mint(database.knex, agentId, { ...one, bootId: `boot-${n}` })).toMatchObject({
        kind: 'minted',
      });
    for (let n = 0; n < 8; n += 1) {
      // Each connection had ended before the next: nobody took anything over.
      await database
        .knex('agent_queues')
        .where({ agent_id: agentId })
        .update({ owner_boot_id: null, connection_id: null });
      expect(await mint(database.knex, agentId, { instanceId: `restarted-${n}` })).toMatchObject({
        kind: 'minted',
      });
    }
    for (const instanceId of ['a', 'b', 'c', 'd']) {
      await database.knex.raw(
        `update agent_queues set takeovers_since = now() - interval '61 seconds' where agent_id = ?`,
        [agentId],
      );
      expect(await mint(database.knex, agentId, { instanceId })).toMatchObject({ kind: 'minted' });
    }
    expect(await readNotice(agentId)).toBeNull();
  });
});
