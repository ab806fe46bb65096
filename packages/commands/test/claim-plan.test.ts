import { connectDatabase, queryRows } from '@streamspace/database';
import { createTestDatabase, type TestDatabase } from '@streamspace/testkit';
import type { Knex } from 'knex';
import { CLAIM } from '../src/delivery-store.ts';
import { createTestAgent } from './test-node.ts';

const FINISHED = 100_000;

let database: TestDatabase;
/** One connection as a replica has it: statements are prepared on one. */
let session: Knex;

beforeAll(async () => {
  database = await createTestDatabase();
  session = connectDatabase({ url: database.url, applicationName: 'plan', poolSize: 1 });
  for (const agentId of ['planned', 'other']) await createTestAgent(session, agentId);
  await session.raw(
    `prepare claim (text[], bigint[], integer[], text) as ${CLAIM.replace(':agents', '$1').replace(':epochs', '$2').replace(':windows', '$3').replace(':replica', '$4')}`,
  );
});

afterAll(async () => {
  await session.destroy();
  await database[Symbol.asyncDispose]();
});

interface PlanNode {
  readonly 'Node Type': string;
  readonly 'Relation Name'?: string;
  readonly 'Index Name'?: string;
  readonly Plans?: readonly PlanNode[];
}

function nodesOf(node: PlanNode): readonly PlanNode[] {
  return [node, ...(node.Plans ?? []).flatMap((child) => nodesOf(child))];
}

/** How `agent_commands` is read, at each of ten executions: from the sixth the plan may be the generic one. */
async function readAccessPaths(): Promise<readonly string[]> {
  const paths = new Set<string>();
  for (let n = 0; n < 10; n += 1) {
    const [row] = await queryRows<{ 'QUERY PLAN': { Plan: PlanNode }[] }>(
      session,
      `explain (format json) execute claim(array['planned', 'other'], array[0, 0], array[32, 32], 'a')`,
    );
    for (const node of nodesOf(row!['QUERY PLAN'][0]!.Plan))
      if (
        node['Relation Name'] === 'agent_commands' ||
        node['Node Type'].startsWith('Bitmap Index')
      )
        paths.add(`${node['Node Type']} ${node['Index Name'] ?? ''}`.trim());
    // Executed in between, so that the server counts it towards its choice.
    const trx = await session.transaction();
    await trx.raw(`execute claim(array['planned', 'other'], array[0, 0], array[32, 32], 'a')`);
    await trx.rollback();
  }
  return [...paths].toSorted();
}

/** Spread over two agents, as old as the queue is long; nobody has moved the head yet. */
async function addFinished(): Promise<void> {
  await session.raw(
    `insert into agent_commands (command_id, agent_id, action, payload, seq, status, attempt, sent_epoch,
       created_at, updated_at, completed_at)
     select 'cmd_done_' || n, case n % 2 when 0 then 'planned' else 'other' end, 'ping', '{}', (n + 1) / 2,
       'completed', 1, 1, now(), now(), now()
     from generate_series(1, ?) n`,
    [FINISHED],
  );
}

/** What is due by the open index, each of it by its key, and nothing else. */
const BY_INDEX = [
  'Index Scan agent_commands_open',
  'Index Scan agent_commands_pkey',
  'ModifyTable',
];

// Property 34: the plan that is kept was made while there was nothing.
it('reads the open index with a plan from when the table was empty', async () => {
  expect(await readAccessPaths()).toEqual(BY_INDEX);
  await addFinished();
  expect(await readAccessPaths()).toEqual(BY_INDEX);
});

// Property 34, at the length of a test.
it.each([
  ['nothing', 0],
  ['one command', 1],
  ['twenty thousand commands', 20_000],
])('reads the open index and no whole table with %s open', async (_, open) => {
  await session.raw(
    `insert into agent_commands (command_id, agent_id, action, payload, seq, created_at, updated_at)
     select 'cmd_open_' || ? || '_' || n, 'planned', 'ping', '{}', ? + n, now(), now()
     from generate_series(1, ?) n`,
    [open, FINISHED + open, open],
  );

  const withOldStatistics = await readAccessPaths();
  await session.raw('analyze agent_commands');
  const withNewStatistics = await readAccessPaths();

  expect(withOldStatistics).toEqual(BY_INDEX);
  expect(withNewStatistics).toEqual(BY_INDEX);
});

it('takes a full window out of twenty thousand within milliseconds', async () => {
  const startedAt = performance.now();
  const taken = await session.raw<{ rowCount: number }>(
    `execute claim(array['planned'], array[0], array[32], 'a')`,
  );
  expect(taken.rowCount).toBe(32);
  expect(performance.now() - startedAt).toBeLessThan(500);
});
