import { randomUUID } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Logger } from 'pino';
import { pinoHttp, type HttpLogger } from 'pino-http';

const REQUEST_ID = /^[\w.:-]{1,128}$/;

/** One line a request: never a header, a query or a body, in all of which secrets travel. */
export function requestLog(logger: Logger): HttpLogger {
  return pinoHttp({
    logger,
    genReqId: takeRequestId,
    quietReqLogger: true,
    customLogLevel: (_request, response, error) => {
      if (error !== undefined || response.statusCode >= 500) return 'warn';
      return 'debug';
    },
    customSuccessMessage: () => 'request answered',
    customErrorMessage: () => 'request failed',
    // A 5xx was logged with what caused it, where that is not its kind; there is no further error.
    customErrorObject: (_request, _response, _error, { err: _err, ...fields }) => fields,
    customProps: (_request, response) => factsOf(response),
    serializers: {
      req: ({ id, method, url }: { id: unknown; method: string; url: string }) => ({
        id,
        method,
        path: url.split('?', 1)[0],
      }),
      res: ({ statusCode }: { statusCode: number }) => ({ status: statusCode }),
    },
  });
}

/** The caller's, where it can be told apart from an attempt to write into the log. */
function takeRequestId(request: IncomingMessage, response: ServerResponse): string {
  const given = request.headers['x-request-id'];
  const id = typeof given === 'string' && REQUEST_ID.test(given) ? given : randomUUID();
  response.setHeader('X-Request-Id', id);
  return id;
}

function factsOf(response: ServerResponse): object {
  if (!('locals' in response) || typeof response.locals !== 'object' || !response.locals) return {};
  const { route, user } = response.locals as { route?: unknown; user?: unknown };
  return { route, user };
}
