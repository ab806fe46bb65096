import { createTestDatabase, createTestRedis, type TestDatabase } from '@streamspace/testkit';
import type { Knex } from 'knex';
import { createTestUser, startTestNode, type TestNode } from './test-node.ts';

export interface TwoNodes extends AsyncDisposable {
  readonly database: TestDatabase;
  readonly a: TestNode;
  readonly b: TestNode;
}

/** Two replicas on one database and one Redis, with the user `ada`. */
export async function startTwoNodes(): Promise<TwoNodes> {
  const database = await createTestDatabase();
  const redis = await createTestRedis();
  const a = await startTestNode({ database, redis, name: 'a' });
  const b = await startTestNode({ database, redis, name: 'b' });
  await createTestUser(database.knex, 'ada');
  return {
    database,
    a,
    b,
    async [Symbol.asyncDispose]() {
      await a[Symbol.asyncDispose]();
      await b[Symbol.asyncDispose]();
      await redis[Symbol.asyncDispose]();
      await database[Symbol.asyncDispose]();
    },
  };
}

/** Answers with the id of the start command. */
export async function startTestSession(
  { queue }: Pick<TestNode, 'queue'>,
  agentId: string,
  sessionId: string,
): Promise<string> {
  const answer = await queue.startSession({
    sessionId,
    agentId,
    userId: 'ada',
    name: null,
    template: 't',
    platform: 'process',
    labels: {},
    payload: {
      template: 't',
      userId: 'ada',
      protocol: 'http',
      ports: [{ name: 'http', port: 80 }],
      platform: { command: ['true'] },
      resources: {},
      env: {},
    },
    cpu: null,
    memory: null,
    cpuMillis: 0,
    memoryBytes: 0,
    onVanished: 'fail',
  });
  if (answer.kind !== 'accepted') throw new Error(answer.kind);
  return answer.command?.command_id ?? '';
}

export async function readSessionState(db: Knex, id: string): Promise<unknown> {
  const row: unknown = await db('sessions').where({ id }).first('state', 'error_code');
  return row;
}

/** Payloads of so many pings. */
export function pings(count: number): readonly Record<string, never>[] {
  return Array.from({ length: count }, () => ({}));
}
