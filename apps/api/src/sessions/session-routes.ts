import { parseStoredAnswer } from '@streamspace/commands';
import { toCommand, toSession } from '@streamspace/database';
import {
  createSessionSchema,
  sessionAndCommandSchema,
  sessionPageSchema,
  sessionQuerySchema,
  sessionSchema,
} from '@streamspace/protocol';
import type { SessionService, SessionStore } from '@streamspace/sessions';
import { everyRole, scopeOf } from '../access/principal.ts';
import type { CommandStore } from '../commands/command-store.ts';
import type { CommandWaiter } from '../events/command-waiter.ts';
import { notFound } from '../http/api-error.ts';
import { emptyBody, idParameter, noParameters, noQuery } from '../http/parameters.ts';
import { defineRoute, json, type ResponseSpec, type Route, type Wait } from '../http/route.ts';

export interface SessionRoutesOptions {
  readonly service: SessionService;
  readonly sessions: SessionStore;
  readonly commands: CommandStore;
  readonly waiter: CommandWaiter;
}

const accepted: ResponseSpec = {
  description: 'Stored; it will be carried out. With `Prefer: wait` the state at the end.',
  schema: sessionAndCommandSchema,
  headers: { Location: 'The session.', 'Preference-Applied': 'The seconds it has waited for.' },
};

export function sessionRoutes(options: SessionRoutesOptions): readonly Route[] {
  return [...readingRoutes(options), creatingRoute(options), ...changingRoutes(options)];
}

function readingRoutes({ sessions }: SessionRoutesOptions): readonly Route[] {
  return [
    defineRoute({
      method: 'get',
      path: '/api/v1/sessions',
      operationId: 'listSessions',
      tag: 'sessions',
      summary: 'Sessions, newest first',
      roles: everyRole,
      params: noParameters,
      query: sessionQuerySchema,
      responses: { 200: { description: 'A page.', schema: sessionPageSchema } },
      handler: async ({ query, principal }) =>
        json(200, await sessions.list(query, scopeOf(principal))),
    }),
    defineRoute({
      method: 'get',
      path: '/api/v1/sessions/:id',
      operationId: 'getSession',
      tag: 'sessions',
      summary: 'One session',
      roles: everyRole,
      params: idParameter,
      query: noQuery,
      responses: { 200: { description: 'The session.', schema: sessionSchema } },
      problems: [404],
      async handler({ params: { id }, principal }) {
        const session = await sessions.find(id, scopeOf(principal));
        if (!session) throw notFound(`session '${id}'`);
        return json(200, session);
      },
    }),
  ];
}

function creatingRoute(options: SessionRoutesOptions): Route {
  const { service } = options;
  return defineRoute({
    method: 'post',
    path: '/api/v1/sessions',
    operationId: 'createSession',
    tag: 'sessions',
    summary: 'Starts a session on the least loaded agent that fits',
    description:
      'With `agentId` on that agent alone, also while it is away: the start then waits until the agent is back, or expires.',
    roles: everyRole,
    params: noParameters,
    query: noQuery,
    body: createSessionSchema,
    responses: { 202: accepted },
    problems: [409, 429],
    keepsOwnAnswer: true,
    toReplayedBody,
    toLocation,
    waitForEnd: waitForEnd(options),
    async handler({ body, principal, idempotency }) {
      const created = await service.create({
        userId: principal.userId,
        request: body,
        idempotency,
      });
      return json(202, created);
    },
  });
}

const onSession = {
  tag: 'sessions',
  roles: everyRole,
  params: idParameter,
  query: noQuery,
} as const;

function stoppingRoute(options: SessionRoutesOptions): Route {
  return defineRoute({
    ...onSession,
    method: 'delete',
    path: '/api/v1/sessions/:id',
    operationId: 'stopSession',
    summary: 'Stops a session, also while its agent is away',
    responses: {
      202: accepted,
      200: { description: 'It had ended before.', schema: sessionAndCommandSchema },
    },
    problems: [404],
    toLocation,
    waitForEnd: waitForEnd(options),
    async handler({ params: { id }, principal }) {
      const stopped = await options.service.stop({ sessionId: id, scope: scopeOf(principal) });
      return json(stopped.command ? 202 : 200, stopped);
    },
  });
}

function changingRoutes(options: SessionRoutesOptions): readonly Route[] {
  const { service } = options;
  const changing = (action: 'hibernate' | 'wake', summary: string): Route =>
    defineRoute({
      ...onSession,
      method: 'post',
      path: `/api/v1/sessions/:id/${action}`,
      operationId: `${action}Session`,
      summary,
      body: emptyBody,
      isBodyOptional: true,
      responses: { 202: accepted },
      problems: [404, 409, 429],
      keepsOwnAnswer: true,
      toReplayedBody,
      toLocation,
      waitForEnd: waitForEnd(options),
      async handler({ params: { id }, principal, idempotency }) {
        const change = { sessionId: id, scope: scopeOf(principal), idempotency };
        return json(202, await service[action](change));
      },
    });
  return [
    stoppingRoute(options),
    changing('hibernate', 'Puts a running session aside; its room is free for others'),
    changing('wake', 'Runs a hibernated session again, on the same agent'),
  ];
}

function toLocation(body: unknown): string {
  const { session } = sessionAndCommandSchema.parse(body);
  return `/api/v1/sessions/${encodeURIComponent(session.id)}`;
}

function toReplayedBody(answer: unknown): unknown {
  const { session, command } = parseStoredAnswer(answer);
  return { session: session && toSession(session), command: command ? toCommand(command) : null };
}

/** A start has ended when the session runs or has failed; the command says which. */
function waitForEnd({ sessions, commands, waiter }: SessionRoutesOptions) {
  return async (body: unknown, { timeoutMs, signal }: Wait): Promise<unknown> => {
    const { session, command } = sessionAndCommandSchema.parse(body);
    if (!command) return body;
    await waiter.wait({
      commandId: command.id,
      hasEnded: () => commands.hasEnded(command.id),
      timeoutMs,
      signal,
    });
    return {
      session: (await sessions.find(session.id, 'everything')) ?? session,
      command: (await commands.find(command.id, 'everything')) ?? command,
    };
  };
}
