import { setTimeout as delay } from 'node:timers/promises';
import type { Knex } from 'knex';
import { callFunction, queryRows } from '../src/index.ts';

export interface Answer {
  readonly kind: string;
  readonly session?: Readonly<Record<string, unknown>>;
  readonly command?: Readonly<Record<string, unknown>> | null;
  readonly commands?: readonly Readonly<Record<string, unknown>>[];
  readonly [name: string]: unknown;
}

export interface QueueOptions {
  readonly maxSessions?: number;
  readonly memoryBytes?: number;
  readonly ownerBootId?: string;
}

let counter = 0;

/** Unique within the test file, in the order of the calls. */
export function newId(prefix: string): string {
  counter += 1;
  return `${prefix}-${String(counter).padStart(6, '0')}`;
}

export async function createAgent(
  db: Knex,
  { maxSessions, memoryBytes, ownerBootId }: QueueOptions = {},
): Promise<string> {
  const agentId = newId('agent');
  await db('users').insert({ id: 'ada', username: 'ada' }).onConflict('id').ignore();
  await db('agents').insert({ agent_id: agentId, platform: 'process' });
  await db('agent_queues').insert({
    agent_id: agentId,
    max_sessions: maxSessions ?? null,
    capacity_memory_bytes: memoryBytes ?? null,
    owner_boot_id: ownerBootId ?? null,
  });
  return agentId;
}

export async function start(
  db: Knex,
  agentId: string,
  more: Readonly<Record<string, unknown>> = {},
): Promise<Answer> {
  return (await callFunction(db, 'start_session', {
    agentId,
    sessionId: newId('ses'),
    commandId: newId('cmd'),
    userId: 'ada',
    template: 't',
    platform: 'process',
    labels: {},
    protocol: 'http',
    port: 80,
    payload: { template: 't' },
    cpuMillis: 0,
    memoryBytes: 0,
    onVanished: 'fail',
    expiresInMs: 86_400_000,
    maxQueued: 1000,
    ...more,
  })) as Answer;
}

/** The ids of a session that was accepted, with its start's. */
export async function startAccepted(
  db: Knex,
  agentId: string,
  more: Readonly<Record<string, unknown>> = {},
): Promise<{ sessionId: string; commandId: string }> {
  const answer = await start(db, agentId, more);
  if (answer.kind !== 'accepted') throw new Error(answer.kind);
  return { sessionId: String(answer.session?.['id']), commandId: commandOf(answer) };
}

export function commandOf(answer: Answer): string {
  const commandId = answer.command?.['command_id'];
  if (typeof commandId !== 'string') throw new Error(`no command, but ${answer.kind}`);
  return commandId;
}

export async function change(
  db: Knex,
  sessionId: string,
  action: string,
  more: Readonly<Record<string, unknown>> = {},
): Promise<Answer> {
  return (await callFunction(db, 'change_session', {
    sessionId,
    action,
    commandId: newId('cmd'),
    expiresInMs: 86_400_000,
    maxQueued: 1000,
    ...more,
  })) as Answer;
}

export async function enqueue(
  db: Knex,
  agentId: string,
  { count = 1, ...more }: Readonly<{ count?: number } & Record<string, unknown>> = {},
): Promise<Answer> {
  return (await callFunction(db, 'enqueue_agent_commands', {
    agentId,
    action: 'ping',
    commands: Array.from({ length: count }, () => ({ id: newId('cmd'), payload: {} })),
    expiresInMs: 86_400_000,
    maxQueued: 1000,
    ...more,
  })) as Answer;
}

/** As a claim leaves it. */
export async function markSent(db: Knex, commandIds: readonly string[], epoch = 1): Promise<void> {
  await db.raw(
    `update agent_commands set status = 'sent', attempt = attempt + 1, sent_epoch = ?, sent_at = now(), updated_at = now()
     where command_id = any(?)`,
    [epoch, [...commandIds]],
  );
}

export interface Entry {
  readonly command_id: string;
  readonly status: string;
  readonly agent_id?: string;
  readonly error_code?: string;
  readonly result?: unknown;
}

export async function finish(
  db: Knex,
  entries: readonly Entry[],
  unsentOnly = false,
): Promise<{ commands: { command_id: string }[]; sessions: { id: string }[] }> {
  const [row] = await queryRows<{
    finished: { commands: { command_id: string }[]; sessions: { id: string }[] };
  }>(db, 'select finish_commands(:entries::jsonb, :unsentOnly) as finished', {
    entries: JSON.stringify(entries),
    unsentOnly,
  });
  return row!.finished;
}

/** A session that runs: started, claimed, completed. */
export async function startRunning(
  db: Knex,
  agentId: string,
  more: Readonly<Record<string, unknown>> = {},
): Promise<string> {
  const { sessionId, commandId } = await startAccepted(db, agentId, more);
  await markSent(db, [commandId]);
  await finish(db, [{ command_id: commandId, status: 'completed' }]);
  return sessionId;
}

export async function readQueue(db: Knex, agentId: string): Promise<Record<string, unknown>> {
  return (await db('agent_queues').where({ agent_id: agentId }).first()) as Record<string, unknown>;
}

export async function readCommand(db: Knex, commandId: string): Promise<Record<string, unknown>> {
  return (await db('agent_commands').where({ command_id: commandId }).first()) as Record<
    string,
    unknown
  >;
}

export async function readSession(db: Knex, id: string): Promise<Record<string, unknown>> {
  return (await db('sessions').where({ id }).first()) as Record<string, unknown>;
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
