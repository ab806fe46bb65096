import { setTimeout as delay } from 'node:timers/promises';
import { callFunction, queryRows } from '@streamspace/database';
import type { Knex } from 'knex';
import { CommandQueue } from '../src/index.ts';

/** Nobody listens: for tests of what is in the database. */
const nothing = (): void => undefined;
export const silence = { ring: nothing, publish: nothing, markGap: nothing, cancel: nothing };

export function createTestQueue(
  db: Knex,
  { maxQueuedPerAgent = 100_000, expiresInMs = 86_400_000 } = {},
): CommandQueue {
  return new CommandQueue({
    db,
    doorbell: silence,
    events: silence,
    notices: silence,
    maxQueuedPerAgent,
    expiresInMs,
  });
}

/** A new connection of the agent: its epoch. */
export async function mintEpoch(db: Knex, agentId: string, bootId = 'boot'): Promise<number> {
  const minted = (await callFunction(db, 'mint_epoch', {
    agentId,
    bootId,
    connectionId: 'connection',
    keyId: 'key',
    highestEpoch: 0,
    instanceId: 'instance',
    journalId: 'journal',
  })) as { epoch: number };
  return minted.epoch;
}

export interface OpenTransaction extends AsyncDisposable {
  readonly trx: Knex.Transaction;
  /** Of its server process. */
  readonly pid: number;
}

/** A transaction on a connection of its own; rolled back when the test ends before it does. */
export async function begin(db: Knex): Promise<OpenTransaction> {
  const trx = await db.transaction();
  const [row] = await queryRows<{ pid: number }>(trx, 'select pg_backend_pid() as pid');
  return {
    trx,
    pid: row!.pid,
    async [Symbol.asyncDispose]() {
      if (!trx.isCompleted()) await trx.rollback();
    },
  };
}

/** Looks until the connection waits for another one's lock. */
export async function untilBlocked(observer: Knex, pid: number): Promise<void> {
  for (;;) {
    const [row] = await queryRows<{ blocked: boolean }>(
      observer,
      'select cardinality(pg_blocking_pids(:pid)) > 0 as blocked',
      { pid },
    );
    if (row?.blocked) return;
    await delay(2);
  }
}
