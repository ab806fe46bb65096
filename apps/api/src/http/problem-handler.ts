import type { ErrorRequestHandler, RequestHandler } from 'express';
import type { Logger } from 'pino';
import { ApiError } from './api-error.ts';
import { toProblem } from './problem.ts';

export const unknownRoute: RequestHandler = (request) => {
  throw new ApiError(404, 'not_found', `There is nothing at ${request.path}.`);
};

export function problemHandler(logger: Logger): ErrorRequestHandler {
  return (error, request, response, next) => {
    const { problem, headers } = toProblem(error);
    if (problem.status === 500)
      logger.error({ err: error, reqId: request.id, path: request.path }, 'request failed');
    if (response.headersSent) {
      next(error);
      return;
    }
    response
      .status(problem.status)
      .set({ 'Cache-Control': 'no-store', ...headers })
      .type('application/problem+json')
      .send(JSON.stringify(problem));
  };
}
