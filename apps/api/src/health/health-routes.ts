import { AGENT_PROTOCOL_VERSION } from '@streamspace/protocol';
import { z } from 'zod';
import { noParameters, noQuery } from '../http/parameters.ts';
import { defineRoute, json, type ResponseSpec, type Route } from '../http/route.ts';
import type { Metrics } from '../metrics.ts';
import type { Readiness } from './readiness.ts';

export interface HealthRoutesOptions {
  readonly readiness: Readiness;
  readonly metrics: Metrics;
  readonly version: string;
  readonly replicaName: string;
}

const readinessSchema = z
  .object({
    status: z.enum(['ready', 'degraded', 'starting', 'draining', 'cut_off']),
    postgres: z.enum(['ok', 'away', 'unknown']),
    redis: z.enum(['ok', 'away', 'unknown']),
    missingMigrations: z.array(z.string()),
  })
  .meta({ id: 'Readiness' });

const versionSchema = z
  .object({
    version: z.string(),
    api: z.literal('v1'),
    agentProtocol: z.int(),
    replica: z.string(),
    node: z.string(),
  })
  .meta({ id: 'Version' });

const shared = {
  method: 'get',
  tag: 'operations',
  roles: 'public',
  params: noParameters,
  // What probes and scrapers add to the address is theirs.
  query: z.object({}),
} as const;

const notReady: ResponseSpec = {
  description: 'Starting, draining, waiting for the schema, or cut off from Postgres alone.',
  schema: readinessSchema,
};

/** On the public port, or on the internal one where there is one. */
export function healthRoutes(options: HealthRoutesOptions): readonly Route[] {
  return [...probeRoutes(options), metricsRoute(options), versionRoute(options)];
}

function probeRoutes({ readiness }: HealthRoutesOptions): readonly Route[] {
  return [
    defineRoute({
      ...shared,
      path: '/livez',
      operationId: 'isAlive',
      summary: 'The process runs; looks at nothing else',
      responses: {
        200: { description: 'It does.', schema: z.object({ status: z.literal('ok') }) },
      },
      handler: () => json(200, { status: 'ok' }),
    }),
    defineRoute({
      ...shared,
      path: '/readyz',
      operationId: 'isReady',
      summary: 'Whether requests should come here',
      responses: {
        200: {
          description: 'They should; a store that is away is named.',
          schema: readinessSchema,
        },
        503: notReady,
      },
      handler: () => {
        const { isReady, ...report } = readiness.report();
        return json(isReady ? 200 : 503, report);
      },
    }),
  ];
}

function metricsRoute({ metrics: { registry } }: HealthRoutesOptions): Route {
  return defineRoute({
    ...shared,
    path: '/metrics',
    operationId: 'readMetrics',
    summary: 'Prometheus metrics',
    responses: { 200: { description: 'The metrics.', contentType: 'text/plain' } },
    async handler() {
      const content = await registry.metrics();
      return {
        kind: 'raw',
        send: (_request, response) => {
          response.set('Content-Type', registry.contentType).send(content);
        },
      };
    },
  });
}

function versionRoute({ version, replicaName }: HealthRoutesOptions): Route {
  return defineRoute({
    ...shared,
    query: noQuery,
    path: '/version',
    operationId: 'readVersion',
    summary: 'What runs here',
    responses: { 200: { description: 'Version and replica.', schema: versionSchema } },
    handler: () =>
      json(200, {
        version,
        api: 'v1',
        agentProtocol: AGENT_PROTOCOL_VERSION,
        replica: replicaName,
        node: process.versions.node,
      }),
  });
}
