import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createClient, ProblemError } from '../src/index.ts';

let server: Server;
let url: string;
let answer: (request: IncomingMessage, response: ServerResponse) => void;
const requests: { method: string | undefined; url: string | undefined; headers: object }[] = [];

beforeAll(async () => {
  server = createServer((request, response) => {
    requests.push({ method: request.method, url: request.url, headers: request.headers });
    answer(request, response);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
});

beforeEach(() => {
  requests.length = 0;
});

afterAll(() => {
  server.closeAllConnections();
  server.close();
});

const client = () => createClient({ url, token: 'secret' });

const answerJson =
  (status: number, body: unknown, headers = {}) =>
  (_request: IncomingMessage, response: ServerResponse): void => {
    response.writeHead(status, { 'content-type': 'application/json', ...headers });
    response.end(JSON.stringify(body));
  };

it('sends token, key and preference, and names in the path as they are', async () => {
  answer = answerJson(200, {});
  await expect(
    client().sessions.hibernate('a/b c', { idempotencyKey: 'k', waitSeconds: 3 }),
  ).rejects.toThrow('session');
  expect(requests).toEqual([
    {
      method: 'POST',
      url: '/api/v1/sessions/a%2Fb%20c/hibernate',
      headers: expect.objectContaining({
        authorization: 'Bearer secret',
        'idempotency-key': 'k',
        prefer: 'wait=3',
      }),
    },
  ]);
});

it('leaves out what a query does not say', async () => {
  answer = answerJson(200, { items: [], nextCursor: null });
  await client().commands.list({ status: 'pending', limit: 3 });
  await client().agents.list();
  expect(requests.map((request) => request.url)).toEqual([
    '/api/v1/commands?status=pending&limit=3',
    '/api/v1/agents',
  ]);
});

it('throws a problem with its code and when to come again', async () => {
  const problem = {
    type: 'urn:streamspace:problem:no_agent_available',
    title: 'No agent available',
    status: 503,
    detail: 'No agent can take this session now.',
    agents: [{ agentId: 'a', code: 'offline', reason: 'It is not connected.' }],
  };
  answer = answerJson(503, problem, { 'retry-after': '5' });
  const error: unknown = await client()
    .sessions.create({ template: 't' })
    .catch((reason: unknown) => reason);
  expect(error).toBeInstanceOf(ProblemError);
  expect(error).toMatchObject({
    message: 'No agent can take this session now.',
    status: 503,
    code: 'no_agent_available',
    retryAfterSeconds: 5,
    problem,
  });
});

it('makes a problem of a load balancer’s page', async () => {
  answer = (_request, response) => void response.writeHead(502).end('<h1>Bad Gateway</h1>');
  await expect(client().templates.list()).rejects.toMatchObject({
    status: 502,
    code: 'about:blank',
    message: 'Bad Gateway',
  });
});

it('reads events that come in pieces, and goes on after the last one', async () => {
  const event = {
    type: 'agent',
    userId: null,
    agent: { agentId: 'ä', state: 'online', connectionEpoch: 1, replica: 'r' },
  };
  const text = `retry: 1\r\n\r\n: here\nid: g-0-0\n\nid: g-1-0\nevent: agent\ndata: ${JSON.stringify(event)}\n\nevent: newer\ndata: {"type":"newer"}\n\n`;
  answer = (request, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    if (request.headers['last-event-id'] === undefined) {
      // Byte by byte, through the middle of a character.
      for (const byte of Buffer.from(text)) response.write(Buffer.from([byte]));
      response.end();
    } else response.write('id: g-2-0\nevent: reset\ndata: {}\n\n');
  };
  const abort = new AbortController();
  const notices = client().events({ types: ['agent'], signal: abort.signal });
  const seen = [];
  for await (const notice of notices) {
    seen.push(notice);
    if (notice.type === 'reset') abort.abort();
  }
  expect(seen).toEqual([
    { type: 'open', id: 'g-0-0' },
    { type: 'event', id: 'g-1-0', event },
    { type: 'reset', id: 'g-2-0' },
  ]);
  expect(requests[0]!.url).toBe('/api/v1/events?types=agent');
  expect(requests[1]!.headers).toMatchObject({ 'last-event-id': 'g-1-0' });
});

it('gives up where the server refuses, and not where it is away', async () => {
  let calls = 0;
  answer = (request, response) => {
    calls += 1;
    if (calls === 1) answerJson(503, {})(request, response);
    else
      answerJson(401, { type: 'urn:streamspace:problem:unauthorized', title: 'x', status: 401 })(
        request,
        response,
      );
  };
  await expect(client().events().next()).rejects.toMatchObject({ code: 'unauthorized' });
  expect(calls).toBe(2);
});
