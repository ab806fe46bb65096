import { createTestDatabase, type TestDatabase } from '@streamspace/testkit';
import { Authenticator } from '../src/access/authenticator.ts';
import { tokenCommands } from '../src/access/token-commands.ts';
import { TokenStore } from '../src/access/token-store.ts';

let database: TestDatabase;
let tokens: TokenStore;

beforeAll(async () => {
  database = await createTestDatabase();
  tokens = new TokenStore(database.knex);
});

afterAll(async () => database.drop());

async function run(...words: string[]): Promise<readonly string[]> {
  const lines: string[] = [];
  const program = tokenCommands({ tokens: () => tokens, print: (line) => void lines.push(line) });
  await program.exitOverride().parseAsync(words, { from: 'user' });
  return lines;
}

const principalOf = (token: string, nowMs?: () => number) =>
  new Authenticator({ tokens, adminToken: undefined, ...(nowMs && { nowMs }) }).authenticate(
    `Bearer ${token}`,
  );

it('makes, lists and revokes tokens, and stores none', async () => {
  const [, token = ''] = await run(
    'create',
    '--role',
    'user',
    '--user',
    'dora',
    '--expires-in',
    '30d',
  );
  expect(token).toMatch(/^sst_[\w-]{43}$/);
  expect(await principalOf(token)).toMatchObject({ userId: 'dora', role: 'user' });
  const [line = ''] = (await run('list')).filter((entry) => entry.includes('dora'));
  expect(line).toContain('expires');
  expect(line).not.toContain(token);
  expect(JSON.stringify(await database.knex('access_tokens').select())).not.toContain(token);
  await run('revoke', line.split(' ')[0]!);
  await expect(principalOf(token)).rejects.toMatchObject({ status: 401 });
  await expect(run('revoke', line.split(' ')[0]!)).rejects.toThrow('no token');
});

it('knows a user of upstream’s by name', async () => {
  await database.knex('users').insert({ id: 'u-1', username: 'erna' });
  const [, token = ''] = await run('create', '--role', 'operator', '--user', 'erna');
  expect(await principalOf(token)).toMatchObject({ userId: 'u-1', role: 'operator' });
});

it('lets a token end by its time, or with its user', async () => {
  const userId = await tokens.ensureUser('fritz', 'user');
  const create = (expiresInMs: number | undefined) =>
    tokens.create({ userId, role: 'user', description: null, expiresInMs });
  const short = await create(1);
  const long = await create(undefined);
  await expect(principalOf(short.token)).rejects.toMatchObject({ status: 401 });
  expect(await principalOf(long.token)).toMatchObject({ userId: 'fritz' });
  await database.knex('users').where({ id: 'fritz' }).update({ active: false });
  await expect(principalOf(long.token)).rejects.toMatchObject({ status: 401 });
});

it('remembers a token for 5 s at the most', async () => {
  let now = 0;
  const authenticator = new Authenticator({ tokens, adminToken: undefined, nowMs: () => now });
  const userId = await tokens.ensureUser('greta', 'user');
  const { token, tokenId } = await tokens.create({
    userId,
    role: 'user',
    description: null,
    expiresInMs: undefined,
  });
  await authenticator.authenticate(`Bearer ${token}`);
  await tokens.revoke(tokenId);
  now = 4999;
  expect(await authenticator.authenticate(`bearer ${token}`)).toMatchObject({ userId: 'greta' });
  now = 5000;
  await expect(authenticator.authenticate(`Bearer ${token}`)).rejects.toMatchObject({
    status: 401,
  });
});

it.each([
  '',
  'Basic abc',
  'Bearer',
  'Bearer ',
  'Bearer a b',
  `Bearer ${'a'.repeat(600)}`,
  'Bearer é',
])('does not take %.20j for a token', async (header) => {
  const authenticator = new Authenticator({ tokens, adminToken: 'admin' });
  await expect(authenticator.authenticate(header)).rejects.toMatchObject({ status: 401 });
});

it('makes the admin token’s user where there is none', async () => {
  const authenticator = new Authenticator({ tokens, adminToken: 'the-admin-token' });
  await authenticator.start();
  expect(await authenticator.authenticate('Bearer the-admin-token')).toMatchObject({
    userId: 'admin',
    role: 'admin',
  });
  expect(await database.knex('users').where({ id: 'admin' })).toHaveLength(1);
});
