import {
  checkInvariants,
  createTestDatabase,
  type InvariantSubject,
  type LedgerEntry,
  type TestDatabase,
} from '@streamspace/testkit';

let database: TestDatabase;

beforeAll(async () => {
  database = await createTestDatabase();
  await database
    .knex('users')
    .insert({ id: 'u1', username: 'u1', email: 'u1@example.com' })
    .onConflict()
    .ignore()
    .catch(() => undefined);
  await database.knex('agents').insert({ agent_id: 'a1', platform: 'process' });
  await database.knex('agent_queues').insert({ agent_id: 'a1', connection_epoch: 5 });
});

afterAll(async () => {
  await database.drop();
});

afterEach(async () => {
  await database.knex('agent_commands').del();
  await database.knex('sessions').del();
});

type Operation = Extract<LedgerEntry, { kind: 'begin' }>;

function operation(epoch = 5): Omit<Operation, 'kind'> {
  return {
    action: 'start',
    sessionId: 's1',
    generation: 1,
    commandId: 'c1',
    epoch,
    at: 1,
    pid: 1,
  };
}

function begin(epoch: number): LedgerEntry {
  return { kind: 'begin', ...operation(epoch) };
}

function welcome(epoch: number): LedgerEntry {
  return { kind: 'welcome', epoch, at: 1, pid: 1 };
}

function frame(epoch: number): LedgerEntry {
  return { kind: 'frame', epoch, commandIds: ['c1'], at: 1, pid: 1 };
}

function subject(ledger: LedgerEntry[], changes: Partial<InvariantSubject> = {}): InvariantSubject {
  const quiet = { exits: [], log: () => Promise.resolve('') };
  const agent = { ...quiet, name: 'agent-a1', agentId: 'a1', ledger: () => ledger };
  return { database, replicas: [{ ...quiet, name: 'api-1' }], agents: [agent], ...changes };
}

async function check(checked: InvariantSubject): Promise<string[]> {
  const violations = await checkInvariants(checked, { settleTimeoutMs: 300 });
  return violations.map(({ invariant }) => invariant);
}

async function insertCommand(status: string, error_code: string | null = null): Promise<void> {
  const hasEnded = status !== 'pending' && status !== 'sent';
  await database.knex('agent_commands').insert({
    command_id: 'c1',
    agent_id: 'a1',
    action: 'start_session',
    status,
    error_code,
    seq: 1,
    completed_at: hasEnded ? database.knex.fn.now() : null,
  });
}

async function insertSession(state: string): Promise<void> {
  await database.knex('sessions').insert({ id: 's1', user_id: 'u1', template_name: 't', state });
}

const effect = { kind: 'effect', ...operation() } as const;
const done = { kind: 'end', ...operation(), outcome: 'done' } as const;

it('finds nothing wrong with a session that was started once', async () => {
  await insertCommand('completed');
  await insertSession('running');
  expect(await check(subject([effect, done]))).toEqual([]);
});

it('I1: finds a command that never ended', async () => {
  await insertCommand('sent');
  expect(await check(subject([]))).toEqual(['I1']);
});

it('I2: finds a second start of the same generation', async () => {
  await insertSession('running');
  expect(await check(subject([effect, effect]))).toEqual(['I2']);
});

it('I2: finds a session that runs on after its end', async () => {
  await insertSession('terminated');
  expect(await check(subject([effect]))).toEqual(['I2']);
});

it('I2: finds a session that is said to run and does not', async () => {
  await insertSession('running');
  expect(await check(subject([]))).toEqual(['I2']);
});

it('I3: finds an operation that began under an older epoch, or one that was never minted', async () => {
  expect(await check(subject([begin(3), begin(4)]))).toEqual([]);
  expect(await check(subject([begin(4), begin(3)]))).toEqual(['I3']);
  expect(await check(subject([begin(6)]))).toEqual(['I3']);
});

it('I3: finds a frame that was taken in under an older epoch than a welcome before it, and an epoch given twice', async () => {
  expect(await check(subject([welcome(4), frame(4), welcome(5), frame(5)]))).toEqual([]);
  expect(await check(subject([welcome(4), welcome(5), frame(4)]))).toEqual(['I3']);
  expect(await check(subject([welcome(5), frame(5), welcome(5)]))).toEqual(['I3']);
});

it('I4: finds a success that is called a failure', async () => {
  await insertCommand('failed', 'timed_out');
  expect(await check(subject([done]))).toEqual(['I4']);
});

it('I4: accepts that nobody knows', async () => {
  await insertCommand('failed', 'outcome_unknown');
  expect(await check(subject([done]))).toEqual([]);
});

it('I7: finds a process that ended by itself, and one that logged an unhandled rejection', async () => {
  const exit = { pid: 1, code: 1, signal: null, expected: false };
  const crashed = { name: 'api-1', exits: [exit], log: () => Promise.resolve('') };
  const troubled = {
    name: 'api-2',
    exits: [{ ...exit, expected: true }],
    log: () => Promise.resolve('{"level":30}\n{"level":60,"msg":"unhandled rejection"}'),
  };
  expect(await check(subject([], { replicas: [crashed, troubled] }))).toEqual(['I7', 'I7']);
});
