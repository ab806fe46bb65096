import type { Route } from '../src/http/route.ts';
import { createTestAgent, startTestApi, type Answer, type TestApi } from './test-api.ts';

/**
 * Every route with every role, on what is the caller's own and on what is not. It is made from the
 * routes themselves, so that a new one cannot be left out.
 */
let test: TestApi;
let routes: readonly Route[];

beforeAll(async () => {
  test = await startTestApi();
  ({ routes } = test.api.app);
});

afterAll(async () => test[Symbol.asyncDispose]());

interface Subject {
  readonly sessionId: string;
  readonly commandId: string;
  readonly agentId: string;
  readonly templateName: string;
}

/** Fresh things of one user's, for one call. */
async function createSubject(token: string): Promise<Subject> {
  const agentId = await createTestAgent(test.db);
  const { session, command } = await test
    .client(token)
    .sessions.create({ template: 'hello-web', agentId });
  const templateName = `template-${agentId}`;
  await test.client().templates.create({ name: templateName, ...SPEC });
  return { sessionId: session.id, commandId: command!.id, agentId, templateName };
}

const SPEC = {
  protocol: 'http' as const,
  ports: [{ name: 'http', port: 80 }],
  platforms: { process: { command: ['true'] } },
};

function addressOf({ path }: Route, subject: Subject): string {
  if (path.includes('/sessions/')) return path.replace(':id', subject.sessionId);
  if (path.includes('/commands/')) return path.replace(':id', subject.commandId);
  return path.replace(':id', subject.agentId).replace(':name', subject.templateName);
}

/** A body that is valid, so that what is refused is refused for who asks. */
function bodyOf({ method, path }: Route, subject: Subject): unknown {
  switch (`${method} ${path}`) {
    case 'post /api/v1/sessions':
      return { template: 'hello-web', agentId: subject.agentId };
    case 'post /api/v1/agents':
      return { agentId: `new-${subject.agentId}`, platform: 'process' };
    case 'post /api/v1/agents/:id/commands':
      return { action: 'ping' };
    case 'post /api/v1/templates':
      return { name: `new-${subject.agentId}`, ...SPEC };
    case 'put /api/v1/templates/:name':
      return SPEC;
    default:
      return undefined;
  }
}

async function callAs(route: Route, token: string, subject: Subject): Promise<Answer> {
  const body = bodyOf(route, subject);
  const abort = new AbortController();
  const response = await fetch(test.api.url + addressOf(route, subject), {
    method: route.method.toUpperCase(),
    redirect: 'manual',
    signal: abort.signal,
    headers: {
      ...(token !== '' && { authorization: `Bearer ${token}` }),
      ...(body !== undefined && { 'content-type': 'application/json' }),
    },
    ...(body !== undefined && { body: JSON.stringify(body) }),
  });
  const isStream = response.headers.get('content-type')?.startsWith('text/event-stream');
  const text = isStream ? '' : await response.text();
  if (isStream) abort.abort();
  const answer = { status: response.status, headers: response.headers };
  return { ...answer, body: text.startsWith('{') ? (JSON.parse(text) as unknown) : text };
}

/** Neither unauthorised nor forbidden nor hidden: what happens then is other tests' business. */
function wasLetIn({ status, body }: Answer): boolean {
  const type = (body as { type?: unknown }).type;
  return status !== 401 && status !== 403 && type !== 'urn:streamspace:problem:not_found';
}

const isOfOneUser = ({ path }: Route): boolean => /\/(sessions|commands)\/:id/.test(path);

it('asks for a token everywhere but where nothing is anybody’s', async () => {
  const open = routes.filter(({ roles }) => roles === 'public').map(({ path }) => path);
  expect(open.toSorted()).toEqual([
    '/api/v1/docs',
    '/api/v1/openapi.json',
    '/docs',
    '/livez',
    '/metrics',
    '/readyz',
    '/version',
  ]);
  const subject = await createSubject(test.tokens.alice);
  for (const route of routes.filter(({ roles }) => roles !== 'public'))
    for (const token of ['', 'sst_unknown', 'x'.repeat(600)]) {
      const answer = await callAs(route, token, subject);
      const seen = { route: `${route.method} ${route.path}`, status: answer.status };
      expect(seen).toEqual({ ...seen, status: 401 });
      expect(answer.headers.get('www-authenticate')).toMatch(/^Bearer realm="streamspace"/);
      expect(answer.body).toMatchObject({ type: 'urn:streamspace:problem:unauthorized' });
    }
});

it('gives each role what the table says', () => {
  const table = Object.fromEntries(
    routes
      .filter(({ roles }) => roles !== 'public')
      .map(({ method, path, roles }) => [
        `${method} ${path.replace('/api/v1', '')}`,
        [roles].flat().toSorted().join(' '),
      ]),
  );
  const everybody = 'admin operator user';
  const staff = 'admin operator';
  expect(table).toEqual({
    'post /sessions': everybody,
    'get /sessions': everybody,
    'get /sessions/:id': everybody,
    'delete /sessions/:id': everybody,
    'post /sessions/:id/hibernate': everybody,
    'post /sessions/:id/wake': everybody,
    'get /commands': everybody,
    'get /commands/:id': everybody,
    'post /commands/:id/cancel': everybody,
    'get /agents': staff,
    'get /agents/:id': staff,
    'post /agents': 'admin',
    'delete /agents/:id': 'admin',
    'post /agents/:id/rotate-key': 'admin',
    'post /agents/:id/cordon': staff,
    'post /agents/:id/uncordon': staff,
    'post /agents/:id/drain': staff,
    'post /agents/:id/commands': staff,
    'post /agents/:id/ping': staff,
    'get /templates': everybody,
    'get /templates/:name': everybody,
    'post /templates': 'admin',
    'put /templates/:name': 'admin',
    'delete /templates/:name': 'admin',
    'get /events': everybody,
  });
});

it.each(['admin', 'operator', 'user'] as const)('is kept to for the role %s', async (role) => {
  const token = { ...test.tokens, user: test.tokens.alice }[role];
  for (const route of routes) {
    const own = await createSubject(token);
    const answer = await callAs(route, token, own);
    const isAllowed = route.roles === 'public' || route.roles.includes(role);
    const seen = { route: `${route.method} ${route.path}`, isLetIn: wasLetIn(answer) };
    expect(seen).toEqual({ ...seen, isLetIn: isAllowed });
    expect(answer.status === 403).toBe(!isAllowed);
  }
});

it('hides from a user what is another user’s, as if it were not there', async () => {
  const guarded = routes.filter(isOfOneUser);
  expect(guarded.length).toBeGreaterThanOrEqual(6);
  for (const route of guarded) {
    const foreign = await createSubject(test.tokens.bob);
    const hidden = await callAs(route, test.tokens.alice, foreign);
    const unknown = await callAs(route, test.tokens.alice, {
      ...foreign,
      sessionId: 'ses_unknown',
      commandId: 'cmd_unknown',
    });
    const seen = { route: `${route.method} ${route.path}`, status: hidden.status };
    expect(seen).toEqual({ ...seen, status: 404 });
    expect(unknown.status).toBe(404);
    const session = await test.client().sessions.get(foreign.sessionId);
    expect(session.state).toBe('pending');
    for (const staff of [test.tokens.operator, test.tokens.admin])
      expect(wasLetIn(await callAs(route, staff, foreign))).toBe(true);
  }
});

it('keeps every list to what is the user’s, whatever the filter says', async () => {
  const foreign = await createSubject(test.tokens.bob);
  const alice = test.client(test.tokens.alice);
  const bobs = await test.client().sessions.list({ userId: 'bob', limit: 1 });
  expect(bobs.items).toHaveLength(1);
  expect((await alice.sessions.list({ userId: 'bob' })).items).toEqual([]);
  expect((await alice.sessions.list({ agentId: foreign.agentId })).items).toEqual([]);
  expect((await alice.commands.list({ sessionId: foreign.sessionId })).items).toEqual([]);
  expect((await alice.commands.list({ agentId: foreign.agentId })).items).toEqual([]);
  const own = await alice.sessions.list({ limit: 200 });
  expect(own.items.length).toBeGreaterThan(0);
  expect(new Set(own.items.map(({ userId }) => userId))).toEqual(new Set(['alice']));
});

it('shows nobody but the staff the commands that are an agent’s own', async () => {
  const agentId = await createTestAgent(test.db);
  const command = await test.client(test.tokens.operator).agents.command(agentId, 'ping');
  const alice = test.client(test.tokens.alice);
  await expect(alice.commands.get(command.id)).rejects.toMatchObject({ status: 404 });
  await expect(alice.commands.cancel(command.id)).rejects.toMatchObject({ status: 404 });
  expect(await test.client().commands.get(command.id)).toMatchObject({ action: 'ping' });
});
