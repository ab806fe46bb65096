import type { TemplateSpec } from '@streamspace/protocol';
import { createTestAgent, finishCommand, startTestApi, type TestApi } from './test-api.ts';

let test: TestApi;

beforeAll(async () => {
  test = await startTestApi();
});

afterAll(async () => test[Symbol.asyncDispose]());

const client = () => test.client();

const spec: TemplateSpec = {
  displayName: 'Editor',
  protocol: 'http',
  ports: [{ name: 'http', port: 8080 }],
  platforms: {
    process: { command: ['editor'], env: { MODE: 'plain', HOME: '/tmp' } },
    kubernetes: { image: 'example.com/editor:1' },
  },
  resources: { cpu: '250m', memory: '256Mi' },
  agentLabels: { editor: 'yes' },
};

it('has the templates that come with it', async () => {
  const { items } = await client().templates.list();
  expect(items.map(({ name }) => name)).toEqual(['desktop', 'hello-web']);
});

it('adds, shows, replaces and removes', async () => {
  const created = await client().templates.create({ name: 'editor', ...spec });
  expect(created).toMatchObject({ name: 'editor', ...spec });
  await expect(client().templates.create({ name: 'editor', ...spec })).rejects.toMatchObject({
    status: 409,
    code: 'template_exists',
  });
  const replaced = await client().templates.put('editor', { ...spec, displayName: 'Other' });
  expect(replaced).toMatchObject({ displayName: 'Other', createdAt: created.createdAt });
  expect(await client().templates.get('editor')).toEqual(replaced);
  await client().templates.delete('editor');
  await expect(client().templates.get('editor')).rejects.toMatchObject({ status: 404 });
  await expect(client().templates.delete('editor')).rejects.toMatchObject({ status: 404 });
});

it('tells a template that is new from one that was there', async () => {
  const put = () => test.api.call('/api/v1/templates/put', { method: 'PUT', body: spec });
  expect([(await put()).status, (await put()).status]).toEqual([201, 200]);
  const named = await test.api.call('/api/v1/templates/put', {
    method: 'PUT',
    body: { ...spec, name: 'put' },
  });
  expect(named.body.errors).toEqual([{ pointer: '/name', detail: 'is not a known field' }]);
  const unsuitable = await test.api.call('/api/v1/templates/-bad-', { method: 'PUT', body: spec });
  expect(unsuitable.body.errors).toEqual([{ pointer: ':name', detail: expect.any(String) }]);
});

it('gives a session what it asks for, and the request what it changes', async () => {
  await client().templates.put('given', spec);
  const agentId = await createTestAgent(test.db, { labels: { editor: 'yes' } });
  const { session, command } = await client().sessions.create({
    template: 'given',
    resources: { cpu: '2' },
    env: { MODE: 'fancy', EXTRA: '1' },
  });
  expect(session).toMatchObject({ agentId, resources: { cpu: '2', memory: '256Mi' } });
  const [row] = await test.db('agent_commands').where({ command_id: command!.id });
  expect(row.payload).toMatchObject({
    template: 'given',
    protocol: 'http',
    ports: spec.ports,
    platform: spec.platforms['process'],
    resources: { cpu: '2', memory: '256Mi' },
    env: { MODE: 'fancy', HOME: '/tmp', EXTRA: '1' },
  });
  const [queue] = await test.db('agent_queues').where({ agent_id: agentId });
  expect(queue).toMatchObject({
    reserved_sessions: 1,
    reserved_cpu_millis: '2000',
    reserved_memory_bytes: String(256 * 2 ** 20),
  });
});

it('leaves the sessions of a template alone that is changed or removed', async () => {
  await client().templates.put('gone', spec);
  await createTestAgent(test.db, { labels: { editor: 'yes' } });
  const { session, command } = await client().sessions.create({ template: 'gone' });
  await finishCommand(test.db, command!.id);
  await client().templates.delete('gone');
  const hibernated = await client().sessions.hibernate(session.id);
  await finishCommand(test.db, hibernated.command!.id);
  expect(await client().sessions.wake(session.id)).toMatchObject({
    session: { state: 'waking', template: 'gone' },
  });
});

it.each([
  [{ ...spec, platforms: {} }, '/platforms'],
  [{ ...spec, platforms: { process: {} } }, '/platforms/process'],
  [{ ...spec, ports: [] }, '/ports'],
  [{ ...spec, ports: [{ name: 'x', port: 0 }] }, '/ports/0/port'],
  [{ ...spec, protocol: 'ssh' }, '/protocol'],
  [{ ...spec, onVanished: 'weep' }, '/onVanished'],
])('refuses a spec and names %# the wrong field', async (wrong, pointer) => {
  const answer = await test.api.call('/api/v1/templates/wrong', { method: 'PUT', body: wrong });
  expect(answer.status).toBe(400);
  expect(answer.body.errors[0].pointer).toBe(pointer);
});
