import type { Route } from '../src/http/route.ts';
import { startTestApi, type TestApi } from './test-api.ts';

interface Operation {
  readonly operationId: string;
  readonly parameters: readonly { readonly name: string; readonly in: string }[];
  readonly responses: Readonly<Record<string, { readonly description: unknown }>>;
}

interface Document {
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
  readonly components: { readonly schemas: Readonly<Record<string, object>> };
}

let test: TestApi;
let routes: readonly Route[];
let document: Document;

beforeAll(async () => {
  test = await startTestApi();
  routes = test.api.app.routes;
  document = (await test.api.call('/api/v1/openapi.json', { token: '' })).body as Document;
});

afterAll(async () => test[Symbol.asyncDispose]());

function documented(): string[] {
  return Object.entries(document.paths).flatMap(([path, item]) =>
    Object.keys(item).map((method) => `${method} ${path}`),
  );
}

it('describes every route and nothing else', () => {
  const routed = routes.map(
    ({ method, path }) => `${method} ${path.replaceAll(/:(\w+)/g, '{$1}')}`,
  );
  expect(documented().toSorted()).toEqual(routed.toSorted());
  expect(new Set(routed).size).toBe(routed.length);
});

it('has a route for everything that it describes', async () => {
  for (const entry of documented()) {
    const [method = '', path = ''] = entry.split(' ');
    const address = path.replaceAll(/\{\w+\}/g, 'unknown');
    const answer = await test.api.call(address, { method: method.toUpperCase(), token: '' });
    expect({ entry, status: answer.status }).not.toEqual({ entry, status: 404 });
    expect({ entry, status: answer.status }).not.toEqual({ entry, status: 405 });
  }
});

it('lists the routes that the API promises', () => {
  expect(documented()).toEqual(
    expect.arrayContaining([
      'post /api/v1/sessions',
      'get /api/v1/sessions',
      'get /api/v1/sessions/{id}',
      'delete /api/v1/sessions/{id}',
      'post /api/v1/sessions/{id}/hibernate',
      'post /api/v1/sessions/{id}/wake',
      'get /api/v1/commands',
      'get /api/v1/commands/{id}',
      'post /api/v1/commands/{id}/cancel',
      'post /api/v1/agents',
      'get /api/v1/agents',
      'get /api/v1/agents/{id}',
      'delete /api/v1/agents/{id}',
      'post /api/v1/agents/{id}/cordon',
      'post /api/v1/agents/{id}/uncordon',
      'post /api/v1/agents/{id}/drain',
      'post /api/v1/agents/{id}/rotate-key',
      'post /api/v1/agents/{id}/commands',
      'post /api/v1/agents/{id}/ping',
      'get /api/v1/templates',
      'post /api/v1/templates',
      'get /api/v1/templates/{name}',
      'put /api/v1/templates/{name}',
      'delete /api/v1/templates/{name}',
      'get /api/v1/events',
      'get /api/v1/openapi.json',
      'get /api/v1/docs',
      'get /docs',
      'get /livez',
      'get /readyz',
      'get /metrics',
      'get /version',
    ]),
  );
});

it('refers only to schemas that it holds', () => {
  const text = JSON.stringify(document);
  const references = [...text.matchAll(/"\$ref":"([^"]+)"/g)].map(([, found]) => found);
  expect(references.length).toBeGreaterThan(20);
  for (const reference of references) {
    expect(reference).toMatch(/^#\/components\/schemas\/\w+$/);
    expect(document.components.schemas).toHaveProperty(reference!.split('/').at(-1)!);
  }
  expect(text).not.toContain('$defs');
});

it('is made of the schemas that validate', () => {
  expect(document.components.schemas['CreateSession']).toMatchObject({
    type: 'object',
    additionalProperties: false,
    required: ['template'],
  });
  expect(document.components.schemas['Session']).not.toHaveProperty('additionalProperties');
});

it('is well-formed OpenAPI 3.1', () => {
  expect(document).toMatchObject({ openapi: '3.1.0', info: { version: '0.0.0-test' } });
  const operations = Object.entries(document.paths).flatMap(([path, item]) =>
    Object.values(item).map((operation) => ({ path, operation })),
  );
  const ids = operations.map(({ operation }) => operation.operationId);
  expect(new Set(ids).size).toBe(ids.length);
  for (const { path, operation } of operations) {
    const inPath = operation.parameters.filter((parameter) => parameter.in === 'path');
    expect(inPath.map(({ name }) => `{${name}}`)).toEqual(path.match(/\{\w+\}/g) ?? []);
    for (const parameter of inPath) expect(parameter).toMatchObject({ required: true });
    for (const parameter of operation.parameters)
      expect(parameter).toMatchObject({ schema: expect.any(Object) });
    for (const [status, response] of Object.entries(operation.responses)) {
      expect(status).toMatch(/^([1-5]\d\d|default)$/);
      expect(response.description).toEqual(expect.any(String));
    }
  }
});

it('shows itself as a page whose scripts the content security policy allows', async () => {
  for (const path of ['/docs', '/api/v1/docs']) {
    const redirect = await test.api.call(path, { token: '' });
    expect([redirect.status, redirect.headers.get('location')]).toEqual([302, `${path}/`]);
    const page = await test.api.call(`${path}/`, { token: '' });
    expect(page.status).toBe(200);
    const policy = page.headers.get('content-security-policy');
    expect(policy).toContain("script-src 'self'");
    expect(policy).not.toContain('upgrade-insecure-requests');
    expect(page.body).not.toMatch(/<script(?![^>]*src=)[^>]*>[^<]/);
    const files = [...String(page.body).matchAll(/(?:src|href)="\.\/([^"]+)"/g)];
    expect(files.length).toBeGreaterThan(3);
    for (const [, file] of files) {
      const asset = await test.api.call(`${path}/${file}`, { token: '' });
      expect({ file, status: asset.status }).toEqual({ file, status: 200 });
    }
  }
});
