import { connect } from 'node:net';
import { createTestAgent, startTestApi, type CallOptions, type TestApi } from './test-api.ts';

let test: TestApi;
let agentId: string;

beforeAll(async () => {
  test = await startTestApi();
  agentId = await createTestAgent(test.db);
});

afterAll(async () => test[Symbol.asyncDispose]());

const post = (path: string, options: CallOptions) =>
  test.api.call(`/api/v1${path}`, { method: 'POST', ...options });
const createSession = (body: unknown) => post('/sessions', { body });

it('names every wrong field of a body with a JSON pointer', async () => {
  const answer = await createSession({
    template: 7,
    'a/b~c': 1,
    labels: { 'bad key!': 'x', ok: 'no spaces' },
    resources: { cpu: 'many', gpu: 1 },
    env: { '1X': 'y' },
  });
  expect(answer.status).toBe(400);
  expect(answer.headers.get('content-type')).toMatch(/^application\/problem\+json/);
  expect(answer.body).toMatchObject({
    type: 'urn:streamspace:problem:invalid_request',
    title: 'Invalid request',
    status: 400,
  });
  expect(answer.body.errors.map(({ pointer }: { pointer: string }) => pointer).toSorted()).toEqual([
    '/a~1b~0c',
    '/env/1X',
    '/labels/bad key!',
    '/labels/ok',
    '/resources/cpu',
    '/resources/gpu',
    '/template',
  ]);
});

it.each([
  ['/sessions?limit=0', '?limit'],
  ['/sessions?limit=201', '?limit'],
  ['/sessions?limit=x', '?limit'],
  ['/sessions?state=asleep', '?state'],
  ['/sessions?stat=running', '?stat'],
  ['/sessions?state=running&state=failed', '?state'],
  ['/sessions?cursor=nonsense', '?cursor'],
  ['/sessions?cursor=WzFd', '?cursor'],
  ['/sessions?cursor=WyJhIiwiYiJd', '?cursor'],
  ['/commands?cursor=eyJ4IjoxfQ', '?cursor'],
  ['/agents?cursor=%00', '?cursor'],
  ['/agents?platform=%00', '?platform'],
  ['/templates?cursor=WyJcdTAwMDAiXQ', '?cursor'],
  ['/events?types=weather', '?types'],
  ['/sessions/%00', ':id'],
])('names the wrong parameter of %s', async (path, pointer) => {
  const answer = await test.api.call(`/api/v1${path}`);
  expect(answer.status).toBe(400);
  expect(answer.body.errors).toEqual([{ pointer, detail: expect.any(String) }]);
});

it.each([
  ['{', 'malformed_json', 400],
  ['', 'invalid_request', 400],
  ['null', 'malformed_json', 400],
  ['"text"', 'malformed_json', 400],
  ['[]', 'invalid_request', 400],
  ['{"template":"hello-web"} {}', 'malformed_json', 400],
  ['['.repeat(200_000), 'malformed_json', 400],
  [`${'['.repeat(200_000)}${']'.repeat(200_000)}`, 'invalid_request', 400],
  [`{"env":${'{"A":'.repeat(100_000)}1${'}'.repeat(100_000)}}`, 'invalid_request', 400],
  [`{"template":"${'x'.repeat(1_048_576)}"}`, 'body_too_large', 413],
])('answers the body %.20j with %s', async (text, code, status) => {
  const answer = await post('/sessions', { text });
  expect([answer.status, answer.body.type]).toEqual([status, `urn:streamspace:problem:${code}`]);
});

it.each(['text/plain', 'application/x-www-form-urlencoded', 'application/xml', 'garbage'])(
  'reads no body of type %s',
  async (type) => {
    const answer = await post('/sessions', { text: '{}', headers: { 'content-type': type } });
    expect([answer.status, answer.body.type]).toEqual([
      415,
      'urn:streamspace:problem:unsupported_media_type',
    ]);
  },
);

it('refuses a body where none is asked for, unless it is empty', async () => {
  const cordon = `/agents/${agentId}/uncordon`;
  expect((await post(cordon, {})).status).toBe(200);
  expect((await post(cordon, { body: {} })).status).toBe(200);
  expect((await post(cordon, { body: { force: true } })).body.errors).toEqual([
    { pointer: '/force', detail: 'is not a known field' },
  ]);
});

it('tells an unknown route from a method that a route does not have', async () => {
  const unknown = await test.api.call('/api/v1/nothing');
  expect([unknown.status, unknown.body.type]).toEqual([404, 'urn:streamspace:problem:not_found']);
  const wrong = await test.api.call('/api/v1/sessions', { method: 'PATCH' });
  expect([wrong.status, wrong.headers.get('allow')]).toEqual([405, 'GET, POST, HEAD']);
  expect((await test.api.call('/api/v1/Sessions')).status).toBe(404);
  expect((await test.api.call('/api/v1/sessions/')).status).toBe(404);
  expect((await test.api.call('/api/v1/sessions/%E0%A4%A')).status).toBe(400);
});

it.each([
  ['a NUL', { name: 'a\u0000b' }, '/name'],
  ['half a surrogate pair', { name: 'a\ud800b' }, '/name'],
  ['half a surrogate pair in the environment', { env: { A: '\udc00' } }, '/env/A'],
  ['a NUL in an agent’s id', { agentId: '\u0000' }, '/agentId'],
])('refuses %s, which the database cannot hold', async (_what, fields, pointer) => {
  const answer = await createSession({ template: 'hello-web', agentId, ...fields });
  expect(answer.status).toBe(400);
  expect(answer.body.errors[0].pointer).toBe(pointer);
});

it('stores every other character as it is', async () => {
  const name = '"\'\\;--%_\u0001\u200f\u{1f600}é<script>${7*7}{{7*7}}\n\t';
  const created = await createSession({ template: 'hello-web', agentId, name });
  expect(created.status).toBe(202);
  const read = await test.api.call(`/api/v1/sessions/${created.body.session.id}`);
  expect(read.body.name).toBe(name);
});

it.each(['%', '_', "' or 1=1 --", '\\', '*', 'ses_%', '../sessions', '$1', ':id', '?'])(
  'takes %j for an id and nothing more',
  async (id) => {
    for (const list of ['sessions', 'commands', 'agents', 'templates']) {
      const answer = await test.api.call(`/api/v1/${list}/${encodeURIComponent(id)}`);
      expect([list, answer.status]).toEqual([list, 404]);
    }
    const filtered = await test.api.call(`/api/v1/sessions?userId=${encodeURIComponent(id)}`);
    expect(filtered.body).toEqual({ items: [], nextCursor: null });
  },
);

it('is not misled by names that every object has', async () => {
  for (const name of ['constructor', 'toString', 'hasOwnProperty']) {
    const unknown = await createSession({ template: name });
    expect([unknown.status, unknown.body.type]).toEqual([
      422,
      'urn:streamspace:problem:unknown_template',
    ]);
    const platform = await createSession({ template: 'hello-web', platform: name });
    expect(platform.body.type).toBe('urn:streamspace:problem:platform_not_supported');
  }
  const polluted = await post('/sessions', {
    text: `{"template":"hello-web","agentId":"${agentId}","__proto__":{"x":1}}`,
  });
  expect(polluted.body.errors).toEqual([{ pointer: '/__proto__', detail: 'is not a known field' }]);
  const environment = await post('/sessions', {
    text: `{"template":"hello-web","agentId":"${agentId}","env":{"__proto__":"x","constructor":"y"}}`,
  });
  expect(environment.status).toBe(202);
});

it('never shows what went wrong inside', async () => {
  await test.db.raw('alter table templates rename to templates_away');
  try {
    const answer = await test.api.call('/api/v1/templates');
    expect(answer.status).toBe(500);
    expect(answer.body).toEqual({
      type: 'urn:streamspace:problem:internal_error',
      title: 'Internal error',
      status: 500,
      detail: 'Something went wrong here.',
    });
  } finally {
    await test.db.raw('alter table templates_away rename to templates');
  }
});

it('answers 503 with Retry-After where a lock is not given in time', async () => {
  const lock = await test.db.transaction();
  await lock.raw('set local idle_in_transaction_session_timeout = 0');
  await lock('agent_queues').where({ agent_id: agentId }).forUpdate();
  const answer = await createSession({ template: 'hello-web', agentId });
  await lock.rollback();
  expect([answer.status, answer.body.type, answer.headers.get('retry-after')]).toEqual([
    503,
    'urn:streamspace:problem:unavailable',
    '2',
  ]);
});

it('gives every answer a request id, the caller’s where it is one', async () => {
  const own = await test.api.call('/livez', { headers: { 'x-request-id': 'abc-1' } });
  expect(own.headers.get('x-request-id')).toBe('abc-1');
  const forged = await test.api.call('/livez', { headers: { 'x-request-id': 'a b"}{' } });
  expect(forged.headers.get('x-request-id')).toMatch(/^[0-9a-f-]{36}$/);
  expect(own.headers.get('x-powered-by')).toBeNull();
});

it('survives what is no HTTP', async () => {
  const { port } = new URL(test.api.url);
  const reply = await new Promise<string>((resolve, reject) => {
    const socket = connect(Number(port), '127.0.0.1', () =>
      socket.write('\u0000\u0001nonsense\r\n\r\n'),
    );
    let text = '';
    socket.on('data', (chunk) => (text += String(chunk)));
    socket.on('close', () => resolve(text));
    socket.on('error', reject);
  });
  expect(reply).toContain('400 Bad Request');
  expect((await test.api.call('/livez')).status).toBe(200);
});
