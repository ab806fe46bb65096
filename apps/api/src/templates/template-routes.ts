import {
  createTemplateSchema,
  pageQuerySchema,
  templatePageSchema,
  templateSchema,
  templateSpecSchema,
} from '@streamspace/protocol';
import { TemplateStore } from '@streamspace/sessions';
import type { Knex } from 'knex';
import { adminOnly, everyRole } from '../access/principal.ts';
import { ApiError, notFound } from '../http/api-error.ts';
import type { IdempotencyStore } from '../http/idempotency.ts';
import { nameParameter, noParameters, noQuery } from '../http/parameters.ts';
import { defineRoute, json, type Route } from '../http/route.ts';

export interface TemplateRoutesOptions {
  readonly db: Knex;
  readonly idempotency: IdempotencyStore;
}

export function templateRoutes(options: TemplateRoutesOptions): readonly Route[] {
  return [...readingRoutes(options), creatingRoute(options), ...changingRoutes(options)];
}

function readingRoutes({ db }: TemplateRoutesOptions): readonly Route[] {
  const templates = new TemplateStore(db);
  return [
    defineRoute({
      method: 'get',
      path: '/api/v1/templates',
      operationId: 'listTemplates',
      tag: 'templates',
      summary: 'Templates by name',
      roles: everyRole,
      params: noParameters,
      query: pageQuerySchema,
      responses: { 200: { description: 'A page.', schema: templatePageSchema } },
      handler: async ({ query }) => json(200, await templates.list(query)),
    }),
    defineRoute({
      method: 'get',
      path: '/api/v1/templates/:name',
      operationId: 'getTemplate',
      tag: 'templates',
      summary: 'One template',
      roles: everyRole,
      params: nameParameter,
      query: noQuery,
      responses: { 200: { description: 'The template.', schema: templateSchema } },
      problems: [404],
      async handler({ params: { name } }) {
        const template = await templates.find(name);
        if (!template) throw notFound(`template '${name}'`);
        return json(200, template);
      },
    }),
  ];
}

function creatingRoute({ db, idempotency: store }: TemplateRoutesOptions): Route {
  return defineRoute({
    method: 'post',
    path: '/api/v1/templates',
    operationId: 'createTemplate',
    tag: 'templates',
    summary: 'Adds a template',
    roles: adminOnly,
    params: noParameters,
    query: noQuery,
    body: createTemplateSchema,
    responses: {
      201: {
        description: 'Added.',
        schema: templateSchema,
        headers: { Location: 'The template.' },
      },
    },
    problems: [409],
    keepsOwnAnswer: true,
    toLocation: (body) =>
      `/api/v1/templates/${encodeURIComponent(templateSchema.parse(body).name)}`,
    handler: ({ body: { name, ...spec }, idempotency }) =>
      db.transaction(async (trx) => {
        const template = await new TemplateStore(trx).create(name, spec);
        if (!template)
          throw new ApiError(409, 'template_exists', `There is a template '${name}' already.`);
        await store.keep(idempotency, { status: 201, answer: template }, trx);
        return json(201, template);
      }),
  });
}

function changingRoutes({ db }: TemplateRoutesOptions): readonly Route[] {
  return [
    defineRoute({
      method: 'put',
      path: '/api/v1/templates/:name',
      operationId: 'putTemplate',
      tag: 'templates',
      summary: 'Replaces a template, or adds it',
      description: 'Sessions keep what they were started with.',
      roles: adminOnly,
      params: createTemplateSchema.pick({ name: true }),
      query: noQuery,
      body: templateSpecSchema,
      responses: {
        200: { description: 'Replaced.', schema: templateSchema },
        201: { description: 'Added.', schema: templateSchema },
      },
      async handler({ params: { name }, body }) {
        const { template, isNew } = await new TemplateStore(db).put(name, body);
        return json(isNew ? 201 : 200, template);
      },
    }),
    defineRoute({
      method: 'delete',
      path: '/api/v1/templates/:name',
      operationId: 'deleteTemplate',
      tag: 'templates',
      summary: 'Removes a template; its sessions go on',
      roles: adminOnly,
      params: nameParameter,
      query: noQuery,
      responses: { 204: { description: 'Removed.' } },
      problems: [404],
      async handler({ params: { name } }) {
        if (!(await new TemplateStore(db).delete(name))) throw notFound(`template '${name}'`);
        return json(204);
      },
    }),
  ];
}
