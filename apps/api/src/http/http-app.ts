import express, { type Express, type RequestHandler } from 'express';
import helmet from 'helmet';
import type { Logger } from 'pino';
import { docsPages } from '../docs/docs-routes.ts';
import type { Metrics } from '../metrics.ts';
import { problemHandler, unknownRoute } from './problem-handler.ts';
import { requestLog } from './request-log.ts';
import { createRouter, type RouterOptions } from './router.ts';

export interface HttpAppOptions extends RouterOptions {
  readonly metrics: Metrics;
  readonly logger: Logger;
  readonly trustProxy: string;
  readonly hasDocs: boolean;
}

/** Middleware in the order that counts: what everybody gets, then the routes, then what went wrong. */
export function createHttpApp(options: HttpAppOptions): Express {
  const { metrics, logger, trustProxy, hasDocs } = options;
  const app = express();
  app.disable('x-powered-by');
  app.disable('etag');
  app.set('case sensitive routing', true);
  app.set('strict routing', true);
  app.set('trust proxy', /^\d+$/.test(trustProxy) ? Number(trustProxy) : trustProxy);
  app.use(metrics.measureRequest);
  app.use(asHandler(requestLog(logger)));
  app.use(securityHeaders());
  app.use(createRouter(options));
  if (hasDocs) app.use(docsPages());
  app.use(unknownRoute);
  app.use(problemHandler(logger));
  return app;
}

/** `upgrade-insecure-requests` would break every installation without TLS in front. */
function securityHeaders(): RequestHandler {
  return helmet({
    contentSecurityPolicy: { directives: { upgradeInsecureRequests: null } },
  });
}

function asHandler(log: ReturnType<typeof requestLog>): RequestHandler {
  return (request, response, next) => log(request, response, next);
}
