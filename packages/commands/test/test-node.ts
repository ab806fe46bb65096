import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { AgentHub, connectRedis, hashAgentKey } from '@streamspace/agent-hub';
import { connectDatabase, queryRows } from '@streamspace/database';
import type { LiveEvent } from '@streamspace/protocol';
import type { TestDatabase } from '@streamspace/testkit';
import type { Knex } from 'knex';
import { pino } from 'pino';
import { CommandDispatcher, CommandQueue, GlobalSweep, InventoryReconciler } from '../src/index.ts';

export interface TestNode extends AsyncDisposable {
  readonly url: string;
  readonly bootId: string;
  readonly db: Knex;
  readonly hub: AgentHub;
  readonly queue: CommandQueue;
  readonly sweep: GlobalSweep;
  readonly events: LiveEvent[];
  readonly counts: { sent: number; resent: number };
}

/** A replica without its HTTP API, in this process; the parts are wired as the API wires them. */
export async function startTestNode({
  database,
  redis,
  name,
  window = 32,
  maxQueuedPerAgent = 1000,
}: {
  readonly database: TestDatabase;
  readonly redis: { readonly url: string; readonly prefix: string };
  readonly name: string;
  readonly window?: number;
  readonly maxQueuedPerAgent?: number;
}): Promise<TestNode> {
  const logger = pino({ level: process.env['TEST_LOG'] ?? 'silent', name });
  const httpServer = createServer().listen(0, '127.0.0.1');
  await once(httpServer, 'listening');
  const { port } = httpServer.address() as AddressInfo;
  const db = connectDatabase({ url: database.url, applicationName: name });
  const connections = connectRedis(redis.url, logger);
  if (connections.commands.status !== 'ready') await once(connections.commands, 'ready');
  const published: LiveEvent[] = [];
  const events = {
    publish: (some: readonly LiveEvent[]) => void published.push(...some),
    markGap: () => undefined,
  };
  const counts = { sent: 0, resent: 0 };
  const replica = { bootId: randomUUID(), name, address: null, version: 'test' };
  const hub = new AgentHub({
    db,
    redis: connections,
    prefix: redis.prefix,
    httpServer,
    replica,
    helloRatePerSecond: 1000,
    events,
    counters: {
      refused: () => undefined,
      publishFailed: () => undefined,
      failedMessage: () => undefined,
    },
    logger,
  });
  const queue = new CommandQueue({
    db,
    doorbell: hub,
    events,
    notices: hub,
    maxQueuedPerAgent,
    expiresInMs: 86_400_000,
  });
  const dispatcher = new CommandDispatcher({
    db,
    replicaName: name,
    window,
    doorbell: hub,
    events,
    inventory: new InventoryReconciler({ db, queue, events, logger }),
    counters: {
      sent: (count) => void (counts.sent += count),
      resent: (count) => void (counts.resent += count),
      acknowledged: () => undefined,
      ended: () => undefined,
    },
    logger,
  });
  const sweep = new GlobalSweep({
    db,
    queue,
    doorbell: hub,
    events,
    agentLostAfterMs: 86_400_000,
    onKeysExpired: (keyIds) => hub.revokeKeys(keyIds),
    onRun: () => undefined,
    logger,
  });
  await hub.start(dispatcher);
  dispatcher.start();
  return {
    url: `http://127.0.0.1:${port}`,
    bootId: replica.bootId,
    db,
    hub,
    queue,
    sweep,
    events: published,
    counts,
    async [Symbol.asyncDispose]() {
      await dispatcher.stop();
      await hub.stop();
      await db.destroy();
      connections.commands.disconnect();
      connections.subscriber.disconnect();
    },
  };
}

export async function createTestAgent(
  db: Knex,
  agentId: string,
  { maxSessions }: { readonly maxSessions?: number } = {},
): Promise<{ agentId: string; key: string }> {
  const key = `ssa_${randomUUID()}`;
  await db('agents').insert({ agent_id: agentId, platform: 'process' });
  await db('agent_queues').insert({ agent_id: agentId, max_sessions: maxSessions ?? null });
  await db('agent_keys').insert({
    key_id: `key_${randomUUID()}`,
    agent_id: agentId,
    key_hash: hashAgentKey(key),
  });
  return { agentId, key };
}

export async function createTestUser(db: Knex, id: string): Promise<void> {
  await db('users').insert({ id, username: id }).onConflict('id').ignore();
}

export interface CommandState {
  readonly command_id: string;
  readonly status: string;
  readonly action: string;
  readonly attempt: number;
  readonly sent_epoch: string | null;
  readonly seq: string;
  readonly error_code: string | null;
  readonly error_message: string | null;
  readonly result: unknown;
}

export async function readCommands(db: Knex, agentId: string): Promise<readonly CommandState[]> {
  return queryRows<CommandState>(
    db,
    `select command_id, status, action, attempt, sent_epoch, seq, error_code, error_message, result
     from agent_commands where agent_id = :agentId order by seq`,
    { agentId },
  );
}

/** Looks again every 10 ms until it is so; the last failure is the error. */
export async function eventually<T>(look: () => Promise<T> | T, withinMs = 10_000): Promise<T> {
  const endsAt = performance.now() + withinMs;
  for (;;) {
    try {
      return await look();
    } catch (error) {
      if (performance.now() > endsAt) throw error;
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }
}
