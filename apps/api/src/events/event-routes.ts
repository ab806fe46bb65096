import { everyRole } from '../access/principal.ts';
import { ApiError } from '../http/api-error.ts';
import { noParameters } from '../http/parameters.ts';
import { defineRoute, type CallContext, type Route } from '../http/route.ts';
import { z } from 'zod';
import type { EventStream } from './event-stream.ts';

const eventQuerySchema = z.strictObject({
  types: z
    .string()
    .regex(
      /^(session|command|agent)(,(session|command|agent))*$/,
      'is session, command, agent or several with commas',
    )
    .optional()
    .describe('Only these, with commas between: session, command, agent.'),
  lastEventId: z
    .string()
    .max(255)
    .optional()
    .describe('As the header Last-Event-ID, for clients that cannot set it.'),
});

export function eventRoutes({ events }: { readonly events: EventStream }): readonly Route[] {
  return [
    defineRoute({
      method: 'get',
      path: '/api/v1/events',
      operationId: 'streamEvents',
      tag: 'events',
      summary: 'Live changes as server-sent events',
      description:
        'Each event is a LiveEvent; `event` is its type. A user gets their own sessions and commands. With `Last-Event-ID` the stream goes on where it ended, on any replica. `event: reset` says that something may be missing: load afresh.',
      roles: everyRole,
      params: noParameters,
      query: eventQuerySchema,
      requestHeaders: { 'Last-Event-ID': 'The id of the last event that was seen.' },
      responses: {
        200: { description: 'The stream.', contentType: 'text/event-stream' },
      },
      handler: ({ query, principal, authenticateAgain }) => ({
        kind: 'raw',
        send(request, response) {
          if (request.method === 'HEAD') {
            response.type('text/event-stream').end();
            return;
          }
          events.open({
            response,
            principal,
            types: query.types === undefined ? undefined : new Set(query.types.split(',')),
            lastEventId: request.get('last-event-id') ?? query.lastEventId,
            isStillAllowed: () => isStillAllowed(authenticateAgain),
          });
        },
      }),
    }),
  ];
}

/** Only a token that is known to be bad ends a stream; a database that is away does not. */
async function isStillAllowed(authenticate: CallContext['authenticateAgain']): Promise<boolean> {
  try {
    await authenticate();
    return true;
  } catch (error) {
    return !(error instanceof ApiError && error.status === 401);
  }
}
