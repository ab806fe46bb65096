import { queryRows } from '@streamspace/database';
import { createTestDatabase, type TestDatabase } from '@streamspace/testkit';
import { DeliveryStore } from '../src/delivery-store.ts';
import type { CommandQueue } from '../src/index.ts';
import { createTestAgent, createTestUser, readCommands } from './test-node.ts';
import { begin, createTestQueue, mintEpoch, untilBlocked } from './test-queue.ts';
import { pings, startTestSession } from './two-nodes.ts';

let database: TestDatabase;
let queue: CommandQueue;
let store: DeliveryStore;

beforeAll(async () => {
  database = await createTestDatabase({ poolSize: 12 });
  queue = createTestQueue(database.knex);
  store = new DeliveryStore(database.knex, 'a');
  await createTestUser(database.knex, 'ada');
});

afterAll(() => database[Symbol.asyncDispose]());

async function createAgentWith(agentId: string, commands: number): Promise<number> {
  await createTestAgent(database.knex, agentId);
  if (commands > 0)
    await queue.enqueueAgentCommands({ agentId, action: 'ping', payloads: pings(commands) });
  return mintEpoch(database.knex, agentId);
}

async function readStatuses(agentId: string): Promise<readonly string[]> {
  return (await readCommands(database.knex, agentId)).map(({ status }) => status);
}

// K1.
it('a mint waits for a claim in flight, and the new owner finds what that took', async () => {
  const epoch = await createAgentWith('k1', 2);
  await using claim = await begin(database.knex);
  const claimed = await new DeliveryStore(claim.trx, 'old').claim([
    { agentId: 'k1', epoch, window: 1 },
  ]);
  await using minting = await begin(database.knex);

  const minted = mintEpoch(minting.trx, 'k1');
  await untilBlocked(database.knex, minting.pid);
  await claim.trx.commit();
  await minted;
  await minting.trx.commit();

  expect(claimed).toHaveLength(1);
  expect(await store.listUnresolved({ agentId: 'k1', epoch: epoch + 1 })).toMatchObject([
    { commandId: claimed[0]?.command.commandId, attempt: 1, wasAcknowledged: false },
  ]);
});

// K2.
it('a claim that waited for a mint takes nothing under the epoch that is over', async () => {
  const epoch = await createAgentWith('k2', 2);
  await using minting = await begin(database.knex);
  await mintEpoch(minting.trx, 'k2');
  await using claim = await begin(database.knex);

  const claimed = new DeliveryStore(claim.trx, 'old').claim([{ agentId: 'k2', epoch, window: 8 }]);
  await untilBlocked(database.knex, claim.pid);
  await minting.trx.commit();

  expect(await claimed).toEqual([]);
  await claim.trx.commit();
  expect(await readStatuses('k2')).toEqual(['pending', 'pending']);
  expect(await store.claim([{ agentId: 'k2', epoch: epoch + 1, window: 8 }])).toHaveLength(2);
});

// K3, properties 3 and 12.
it('whatever claims and mints race, no command is stuck and none has two owners', async () => {
  const first = await createAgentWith('k3', 60);
  const owners = new Map<string, number[]>();
  let epoch = first;
  for (let round = 0; round < 25; round += 1) {
    const old = epoch;
    const [, minted] = await Promise.all([
      store.claim([{ agentId: 'k3', epoch: old, window: 1000 }]).then(note),
      mintEpoch(database.knex, 'k3'),
      store.claim([{ agentId: 'k3', epoch: old, window: 4 }]).then(note),
    ]);
    epoch = minted;
    // Exactly what is claimed and not the new owner's is what that asks its agent about.
    const claimedBefore = (await readCommands(database.knex, 'k3'))
      .filter(({ status }) => status === 'sent')
      .map(({ command_id: id }) => id);
    const unresolved = await store.listUnresolved({ agentId: 'k3', epoch });
    expect(unresolved.map(({ commandId }) => commandId)).toEqual(claimedBefore);
    await store.settleResumed({
      agentId: 'k3',
      epoch,
      held: [],
      unknown: claimedBefore,
      alone: 0,
      journalChanged: false,
    });
  }

  expect(await readStatuses('k3')).toEqual(Array.from({ length: 60 }, () => 'pending'));
  for (const epochs of owners.values())
    expect(epochs).toEqual([...new Set(epochs)].toSorted((a, b) => a - b));

  function note(claimed: Awaited<ReturnType<DeliveryStore['claim']>>): void {
    for (const { command, epoch: owner } of claimed)
      owners.set(command.commandId, [...(owners.get(command.commandId) ?? []), owner]);
  }
});

it('an enqueue does not wait for a claim in flight', async () => {
  const epoch = await createAgentWith('unhindered', 1);
  await using claim = await begin(database.knex);
  await new DeliveryStore(claim.trx, 'a').claim([{ agentId: 'unhindered', epoch, window: 8 }]);

  await expect(
    queue.enqueueAgentCommands({ agentId: 'unhindered', action: 'ping', payloads: pings(1) }),
  ).resolves.toMatchObject({ kind: 'accepted' });
});

describe('property 35: what one claim takes', () => {
  it('is in order of seq for each agent and within its window, though all times are equal', async () => {
    const agents = ['ordered-1', 'ordered-2', 'ordered-3'];
    const queues = [];
    for (const [n, agentId] of agents.entries())
      queues.push({ agentId, epoch: await createAgentWith(agentId, 60), window: 7 * (n + 1) });
    await database
      .knex('agent_commands')
      .where('agent_id', 'like', 'ordered-%')
      .update({ created_at: new Date(0), updated_at: new Date(0) });

    for (let claimedBefore = 0; claimedBefore < 21; claimedBefore += 7) {
      const claimed = await store.claim(queues.slice(0, claimedBefore === 0 ? 3 : 1));
      for (const { agentId, window } of queues) {
        const seqs = claimed
          .filter((command) => command.agentId === agentId)
          .map(({ seq }) => Number(seq));
        expect(seqs).toEqual(
          Array.from(
            { length: claimedBefore === 0 || agentId === 'ordered-1' ? window : 0 },
            (_, n) => claimedBefore + n + 1,
          ),
        );
      }
      await store.acknowledge(
        claimed
          .filter(({ agentId }) => agentId === 'ordered-1')
          .map(({ command, epoch }) => ({
            commandId: command.commandId,
            attempt: command.attempt,
            epoch,
          })),
      );
    }
  });

  it('leaves the window closed while nothing is acknowledged', async () => {
    const epoch = await createAgentWith('closed', 20);
    const claim = { agentId: 'closed', epoch, window: 8 };
    expect(await store.claim([claim])).toHaveLength(8);
    expect(await store.claim([claim])).toEqual([]);
    expect(await store.claim([{ ...claim, window: 10 }])).toHaveLength(2);
  });

  it.each([
    ['has expired', `expires_at = now() - interval '1 second'`],
    ['waits for its cancellation', `attempt = 1, sent_epoch = 1, cancel_requested_at = now()`],
  ])('stays within the window behind a command that %s', async (what, change) => {
    const agentId = `behind-${what.replaceAll(' ', '-')}`;
    const epoch = await createAgentWith(agentId, 20);
    await database.knex.raw(`update agent_commands set ${change} where agent_id = ? and seq = 1`, [
      agentId,
    ]);

    expect(await store.claim([{ agentId, epoch, window: 4 }])).toHaveLength(4);
    expect(await store.claim([{ agentId, epoch, window: 4 }])).toEqual([]);
  });
});

describe('property 20: a cancellation', () => {
  it('before the claim ends the command, which is never sent', async () => {
    const epoch = await createAgentWith('cancel-1', 2);
    const [first, second] = await readCommands(database.knex, 'cancel-1');

    expect(await queue.cancel(first?.command_id ?? '')).toMatchObject({
      kind: 'accepted',
      command: { status: 'cancelled', error_code: 'cancelled' },
    });

    const claimed = await store.claim([{ agentId: 'cancel-1', epoch, window: 8 }]);
    expect(claimed.map(({ command }) => command.commandId)).toEqual([second?.command_id]);
  });

  it('between claim and send is asked of the agent', async () => {
    const epoch = await createAgentWith('cancel-2', 1);
    const [command] = await readCommands(database.knex, 'cancel-2');
    await using claim = await begin(database.knex);
    await new DeliveryStore(claim.trx, 'a').claim([{ agentId: 'cancel-2', epoch, window: 8 }]);

    const cancelled = queue.cancel(command?.command_id ?? '');
    await claim.trx.commit();

    expect(await cancelled).toMatchObject({
      kind: 'accepted',
      command: { status: 'sent', completed_at: null, cancel_requested_at: expect.any(Date) },
      epoch,
    });
    expect(await store.listOverdue([{ agentId: 'cancel-2', epoch }])).toMatchObject([
      { isCancelRequested: true, status: 'sent' },
    ]);
  });

  it('after the ack is asked of the agent, until its answer, which is the truth', async () => {
    const epoch = await createAgentWith('cancel-3', 1);
    const [claimed] = await store.claim([{ agentId: 'cancel-3', epoch, window: 8 }]);
    const commandId = claimed?.command.commandId ?? '';
    await store.acknowledge([{ commandId, attempt: 1, epoch }]);

    expect(await queue.cancel(commandId)).toMatchObject({
      kind: 'accepted',
      command: { status: 'acknowledged' },
    });
    expect(await queue.cancel(commandId)).toMatchObject({ kind: 'accepted' });

    expect(await store.listOverdue([{ agentId: 'cancel-3', epoch }])).toMatchObject([
      { isCancelRequested: true, status: 'acknowledged' },
    ]);
  });

  it('after the end says how it ended', async () => {
    await createAgentWith('cancel-4', 1);
    const [command] = await readCommands(database.knex, 'cancel-4');
    const commandId = command?.command_id ?? '';
    await queue.cancel(commandId);

    expect(await queue.cancel(commandId)).toMatchObject({
      kind: 'ended',
      command: { status: 'cancelled' },
    });
    expect(await queue.cancel('cmd_of_nobody')).toEqual({ kind: 'not_found' });
  });

  it('is refused for a stop that is open', async () => {
    await createAgentWith('cancel-5', 0);
    await startTestSession({ queue }, 'cancel-5', 'ses-cancel-5');
    await database.knex('agent_commands').where({ agent_id: 'cancel-5' }).update({ attempt: 1 });
    const stop = await queue.changeSession({ sessionId: 'ses-cancel-5', action: 'stop_session' });
    if (stop.kind !== 'accepted') throw new Error(stop.kind);

    expect(await queue.cancel(stop.command?.command_id ?? '')).toMatchObject({ kind: 'stop' });
  });

  // R5: a command whose cancellation was asked for is never sent again.
  it('of what went back to its place is not overtaken by a claim that had not seen it', async () => {
    const epoch = await createAgentWith('cancel-6', 1);
    await database
      .knex('agent_commands')
      .where({ agent_id: 'cancel-6' })
      .update({ attempt: 1, sent_epoch: epoch });
    const [command] = await readCommands(database.knex, 'cancel-6');
    await using cancelling = await begin(database.knex);
    await createTestQueue(cancelling.trx).cancel(command?.command_id ?? '');
    await using claim = await begin(database.knex);

    const claimed = new DeliveryStore(claim.trx, 'a').claim([
      { agentId: 'cancel-6', epoch, window: 8 },
    ]);
    await untilBlocked(database.knex, claim.pid);
    await cancelling.trx.commit();

    expect(await claimed).toEqual([]);
    await claim.trx.commit();
  });
});

// Properties 10 and 11.
it('an ack of another attempt, another epoch or a second time changes nothing', async () => {
  const epoch = await createAgentWith('acks', 1);
  const [claimed] = await store.claim([{ agentId: 'acks', epoch, window: 8 }]);
  const commandId = claimed?.command.commandId ?? '';

  expect((await store.acknowledge([{ commandId, attempt: 2, epoch }])).size).toBe(0);
  expect((await store.acknowledge([{ commandId, attempt: 1, epoch: epoch + 1 }])).size).toBe(0);
  expect((await store.acknowledge([{ commandId, attempt: 1, epoch: epoch - 1 }])).size).toBe(0);
  expect(await readStatuses('acks')).toEqual(['sent']);
  expect((await store.acknowledge([{ commandId, attempt: 1, epoch }])).size).toBe(1);
  expect((await store.acknowledge([{ commandId, attempt: 1, epoch }])).size).toBe(0);
});

// Property 41.
it('claims in order beyond what a JavaScript number tells apart', async () => {
  const epoch = await createAgentWith('beyond', 0);
  await database
    .knex('agent_queues')
    .where({ agent_id: 'beyond' })
    .update({ next_seq: '9007199254740992', head_seq: '9007199254740991' });
  await queue.enqueueAgentCommands({ agentId: 'beyond', action: 'ping', payloads: pings(70) });
  const readTimes = async (): Promise<readonly unknown[]> =>
    queryRows(
      database.knex,
      `select to_char(created_at, 'US') as microseconds from agent_commands
       where agent_id = 'beyond' order by seq`,
    );
  const times = await readTimes();

  const claimed = await store.claim([{ agentId: 'beyond', epoch, window: 70 }]);
  await store.acknowledge(
    claimed.map(({ command: { commandId, attempt } }) => ({ commandId, attempt, epoch })),
  );
  await database.knex.raw(
    `update agent_commands set status = 'completed', completed_at = now() where agent_id = 'beyond'`,
  );
  await store.advanceHeads([{ agentId: 'beyond', claimedSeq: claimed.at(-1)?.seq ?? 0n }]);

  expect(claimed.map(({ seq }) => seq)).toEqual(
    Array.from({ length: 70 }, (_, n) => 9_007_199_254_740_992n + BigInt(n)),
  );
  expect(
    await database.knex('agent_queues').where({ agent_id: 'beyond' }).first('head_seq'),
  ).toEqual({ head_seq: '9007199254741061' });
  expect(await readTimes()).toEqual(times);
});

// Property 32: what is in the database may come from elsewhere.
it('a payload that is no object does not keep the others of its batch from being sent', async () => {
  const epoch = await createAgentWith('odd-payloads', 4);
  for (const [n, payload] of ['[1]', '"text"', 'null'].entries())
    await database.knex.raw(
      `update agent_commands set payload = ?::jsonb where agent_id = 'odd-payloads' and seq = ?`,
      [payload, n + 1],
    );

  const claimed = await store.claim([{ agentId: 'odd-payloads', epoch, window: 8 }]);

  expect(claimed.map(({ command }) => command.payload)).toEqual([{}, {}, {}, {}]);
});
