import { Router } from 'express';
import swaggerUi from 'swagger-ui-express';
import { z } from 'zod';
import { noParameters, noQuery } from '../http/parameters.ts';
import { defineRoute, json, type Route } from '../http/route.ts';
import type { OpenApiDocument } from './openapi.ts';

const DOCUMENT_PATH = '/api/v1/openapi.json';
const PAGES = ['/docs', '/api/v1/docs'] as const;

/** The document describes these routes too, so it is made when it is first asked for. */
export function docsRoutes(readDocument: () => OpenApiDocument): readonly Route[] {
  return [
    defineRoute({
      method: 'get',
      path: DOCUMENT_PATH,
      operationId: 'readOpenApi',
      tag: 'documentation',
      summary: 'This document',
      roles: 'public',
      params: noParameters,
      query: noQuery,
      responses: {
        200: { description: 'OpenAPI 3.1.', schema: z.looseObject({ openapi: z.string() }) },
      },
      handler: () => json(200, readDocument()),
    }),
    ...PAGES.map((path) =>
      defineRoute({
        method: 'get',
        path,
        operationId: path === '/docs' ? 'readDocs' : 'readApiDocs',
        tag: 'documentation',
        summary: 'This document as a page',
        roles: 'public',
        params: noParameters,
        query: noQuery,
        responses: { 302: { description: 'To the page, whose files are beside it.' } },
        handler: () => ({
          kind: 'raw',
          send: (_request, response) => {
            response.redirect(302, `${path}/`);
          },
        }),
      }),
    ),
  ];
}

/** The page and its files, under both addresses. */
export function docsPages(): Router {
  const options = { swaggerOptions: { url: DOCUMENT_PATH } };
  const router = Router();
  for (const path of PAGES)
    router.use(path, swaggerUi.serveFiles(undefined, options), swaggerUi.setup(undefined, options));
  return router;
}
