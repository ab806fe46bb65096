import { Router, type Request, type Response } from 'express';
import type { IdempotencyEntry } from '@streamspace/commands';
import type { Authenticator } from '../access/authenticator.ts';
import { nobody, type Principal } from '../access/principal.ts';
import { ApiError, unavailable } from './api-error.ts';
import { isTakenKey, parseIdempotencyKey, type IdempotencyStore } from './idempotency.ts';
import { parsePreferredWait } from './prefer.ts';
import { isLockConflict } from './problem.ts';
import { readJsonBody } from './read-body.ts';
import type { CallContext, JsonReply, PreparedCall, Reply, Route } from './route.ts';

export interface RouterOptions {
  readonly routes: readonly Route[];
  readonly authenticator: Authenticator;
  readonly idempotency: IdempotencyStore;
  /** Before the schema is there, what needs it is answered with 503. */
  readonly isStarted: () => boolean;
}

/** The names under which what is learnt of a request waits for its log line and its metric. */
export interface RequestFacts {
  route?: string;
  user?: string;
}

export function createRouter(options: RouterOptions): Router {
  const router = Router({ caseSensitive: true, strict: true });
  const paths = new Set(options.routes.map((route) => route.path));
  for (const path of paths) {
    const routes = options.routes.filter((route) => route.path === path);
    const place = router.route(path);
    for (const route of routes)
      place[route.method](async (request, response) => {
        await serve(route, { request, response, options });
      });
    const allowed = routes.map(({ method }) => method.toUpperCase());
    if (allowed.includes('GET')) allowed.push('HEAD');
    place.all((_request, response: Response<unknown, RequestFacts>) => {
      response.locals.route = path;
      throw new ApiError(405, 'method_not_allowed', `Here goes ${allowed.join(', ')}.`, {
        headers: { Allow: allowed.join(', ') },
      });
    });
  }
  return router;
}

interface Exchange {
  readonly request: Request;
  readonly response: Response<unknown, RequestFacts>;
  readonly options: RouterOptions;
}

/** Who asks comes before what they ask for: a stranger learns nothing of what is valid. */
async function serve(route: Route, exchange: Exchange): Promise<void> {
  const { request, response } = exchange;
  response.locals.route = route.path;
  const principal = await admit(route, exchange);
  const body = route.body ? await readJsonBody(request, response) : undefined;
  const call = route.prepare({
    params: request.params,
    query: request.query,
    body: route.isBodyOptional ? (body ?? {}) : body,
  });
  const reply = await answer(route, call, { exchange, principal });
  if (reply.kind === 'json') sendJson(route, response, reply);
  else reply.send(request, response);
}

async function admit(route: Route, { request, response, options }: Exchange): Promise<Principal> {
  if (route.roles === 'public') return nobody;
  if (!options.isStarted()) throw unavailable('This replica is starting.', 1);
  const principal = await options.authenticator.authenticate(request.headers.authorization);
  response.locals.user = principal.userId;
  if (!route.roles.includes(principal.role))
    throw new ApiError(403, 'forbidden', `The role '${principal.role}' may not do this.`);
  return principal;
}

interface Caller {
  readonly exchange: Exchange;
  readonly principal: Principal;
}

async function answer(route: Route, call: PreparedCall, caller: Caller): Promise<Reply> {
  const { request, response, options } = caller.exchange;
  const gone = new AbortController();
  response.once('close', () => gone.abort());
  const idempotency = toEntry(route, call, caller);
  const context: CallContext = {
    principal: caller.principal,
    idempotency,
    signal: gone.signal,
    authenticateAgain: () => options.authenticator.authenticate(request.headers.authorization),
  };
  const reply = await onceOnly(route, context, {
    store: options.idempotency,
    invoke: () => againAfterConflict(() => call.invoke(context)),
  });
  const waitSeconds = route.waitForEnd && parsePreferredWait(request.get('prefer'));
  if (reply.kind === 'raw' || !route.waitForEnd || waitSeconds === undefined) return reply;
  const wait = { timeoutMs: waitSeconds * 1000, signal: gone.signal };
  return {
    ...reply,
    body: await route.waitForEnd(reply.body, wait),
    headers: { ...reply.headers, 'Preference-Applied': `wait=${waitSeconds}` },
  };
}

function toEntry(
  route: Route,
  call: PreparedCall,
  { exchange: { request }, principal }: Caller,
): IdempotencyEntry | undefined {
  if (route.method !== 'post') return undefined;
  const key = parseIdempotencyKey(request.get('idempotency-key'));
  if (key === undefined) return undefined;
  return {
    principal: principal.userId,
    method: 'POST',
    path: request.path,
    key,
    hash: call.fingerprint,
  };
}

interface Once {
  readonly store: IdempotencyStore;
  readonly invoke: () => Promise<Reply>;
}

/** With an idempotency key: carries it out, or answers what was answered the first time. */
async function onceOnly(route: Route, context: CallContext, once: Once): Promise<Reply> {
  const { idempotency } = context;
  if (!idempotency) return once.invoke();
  const { store, invoke } = once;
  const replay = async (): Promise<JsonReply | undefined> => {
    const kept = await store.find(idempotency);
    return (
      kept && {
        kind: 'json',
        status: kept.status,
        body: route.toReplayedBody ? route.toReplayedBody(kept.answer) : kept.answer,
        headers: { 'Idempotency-Replayed': 'true' },
      }
    );
  };
  const earlier = await replay();
  if (earlier) return earlier;
  try {
    const reply = await invoke();
    if (reply.kind === 'json' && route.keepsOwnAnswer !== true)
      await store.keep(idempotency, { status: reply.status, answer: reply.body });
    return reply;
  } catch (error) {
    const winner = isTakenKey(error) ? await replay() : undefined;
    if (winner) return winner;
    throw error;
  }
}

/** A deadlock or a lock that was not given in time has written nothing: once more, then 503. */
async function againAfterConflict(invoke: () => Promise<Reply>): Promise<Reply> {
  try {
    return await invoke();
  } catch (error) {
    if (!isLockConflict(error)) throw error;
    return invoke();
  }
}

function sendJson(
  route: Route,
  response: Response,
  { status, body, headers = {} }: JsonReply,
): void {
  response.status(status).set({ 'Cache-Control': 'no-store', ...headers });
  if (route.toLocation) response.location(route.toLocation(body));
  if (body === undefined) response.end();
  else response.json(body);
}
