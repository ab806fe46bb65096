import { problemSchema } from '@streamspace/protocol';
import { z } from 'zod';
import type { ResponseSpec, Route } from '../http/route.ts';
import { JsonSchemas, type JsonSchema } from './json-schemas.ts';

export interface OpenApiDocument {
  readonly openapi: '3.1.0';
  readonly info: { readonly title: string; readonly version: string; readonly description: string };
  readonly paths: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  readonly components: {
    readonly schemas: Readonly<Record<string, JsonSchema>>;
    readonly securitySchemes: unknown;
  };
  readonly security: readonly unknown[];
  readonly tags: readonly { readonly name: string }[];
}

const PROBLEM_TEXTS: Readonly<Record<number, string>> = {
  400: 'Wrong fields, each named; or JSON that cannot be read.',
  401: 'No token, or one that is not good.',
  403: 'The role may not do this.',
  404: 'There is none, or none that the caller may see.',
  409: 'Its state does not allow this.',
  413: 'The body is larger than 1 MiB.',
  415: 'The body is not JSON.',
  422: 'Understood, and it cannot be: what it names does not exist.',
  429: 'Too much is waiting already; see Retry-After.',
  503: 'Away or full for now; see Retry-After.',
};

/** OpenAPI 3.1 of the routes: made from what routes and validates, so it says nothing else. */
export function createOpenApiDocument(routes: readonly Route[], version: string): OpenApiDocument {
  const schemas = new JsonSchemas();
  const paths: Record<string, Record<string, unknown>> = {};
  for (const route of routes) {
    const path = route.path.replaceAll(/:(\w+)/g, '{$1}');
    paths[path] = { ...paths[path], [route.method]: toOperation(route, schemas) };
  }
  return {
    openapi: '3.1.0',
    info: {
      title: 'StreamSpace',
      version,
      description:
        'Desktops and applications in the browser. Errors are problem details (RFC 9457) with a stable `type`. `Idempotency-Key` on a POST makes it safe to repeat for 24 hours.',
    },
    paths,
    components: {
      schemas: schemas.components,
      securitySchemes: { bearer: { type: 'http', scheme: 'bearer' } },
    },
    security: [{ bearer: [] }],
    tags: [...new Set(routes.map(({ tag }) => tag))].map((name) => ({ name })),
  };
}

function toOperation(route: Route, schemas: JsonSchemas): object {
  return {
    operationId: route.operationId,
    tags: [route.tag],
    summary: route.summary,
    description: [route.description, toRoleSentence(route)].filter(Boolean).join('\n\n'),
    ...(route.roles === 'public' && { security: [] }),
    parameters: toParameters(route, schemas),
    ...(route.body && {
      requestBody: {
        required: route.isBodyOptional !== true,
        content: { 'application/json': { schema: schemas.of(route.body) } },
      },
    }),
    responses: { ...toResponses(route.responses, schemas), ...toProblems(route, schemas) },
  };
}

function toRoleSentence({ roles }: Route): string {
  return roles === 'public' ? 'Needs no token.' : `Roles: ${roles.join(', ')}.`;
}

function toParameters(route: Route, schemas: JsonSchemas): readonly object[] {
  return [
    ...fromObject(route.params, 'path', schemas),
    ...fromObject(route.query, 'query', schemas),
    ...Object.entries(toHeaders(route)).map(([name, description]) => ({
      name,
      in: 'header',
      required: false,
      description,
      schema: { type: 'string' },
    })),
  ];
}

function toHeaders(route: Route): Readonly<Record<string, string>> {
  return {
    ...(route.method === 'post' && {
      'Idempotency-Key':
        'Up to 255 printable ASCII characters. The same request with the same key is carried out once; its answer comes again with `Idempotency-Replayed: true`.',
    }),
    ...(route.waitForEnd && {
      Prefer:
        '`wait=N`: answers when what was asked for has ended, or after N seconds (60 at the most) with the state then. The status does not change.',
    }),
    ...route.requestHeaders,
  };
}

function fromObject(object: z.ZodObject, place: string, schemas: JsonSchemas): readonly object[] {
  return Object.entries(object.shape).map(([name, field]) => {
    const schema = schemas.of(z.looseObject({ field }));
    const properties: unknown = schema['properties'];
    const value =
      typeof properties === 'object' && properties !== null && 'field' in properties
        ? properties.field
        : {};
    const required = Array.isArray(schema['required']) && schema['required'].includes('field');
    return { name, in: place, required: place === 'path' || required, schema: value };
  });
}

function toResponses(
  responses: Readonly<Record<number, ResponseSpec>>,
  schemas: JsonSchemas,
): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(responses).map(([status, { description, schema, contentType, headers }]) => [
      status,
      {
        description,
        ...(headers && {
          headers: Object.fromEntries(
            Object.entries(headers).map(([name, text]) => [
              name,
              { description: text, schema: { type: 'string' } },
            ]),
          ),
        }),
        ...(schema && { content: { 'application/json': { schema: schemas.of(schema) } } }),
        ...(contentType !== undefined && {
          content: { [contentType]: { schema: { type: 'string' } } },
        }),
      },
    ]),
  );
}

function toProblems(route: Route, schemas: JsonSchemas): Record<string, unknown> {
  const statuses = new Set([
    400,
    ...(route.roles === 'public' ? [] : [401, 403, 503]),
    ...(route.body ? [413, 415] : []),
    ...(route.method === 'post' ? [422] : []),
    ...(route.problems ?? []),
  ]);
  for (const status of Object.keys(route.responses)) statuses.delete(Number(status));
  const content = { 'application/problem+json': { schema: schemas.of(problemSchema) } };
  const known = [...statuses].toSorted((a, b) => a - b);
  return Object.fromEntries([
    ...known.map((status) => [
      status,
      { description: PROBLEM_TEXTS[status] ?? 'Problem.', content },
    ]),
    ['default', { description: 'Any other problem.', content }],
  ]);
}
