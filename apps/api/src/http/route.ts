import { createHash } from 'node:crypto';
import type { IdempotencyEntry } from '@streamspace/commands';
import type { Request, Response } from 'express';
import type { z } from 'zod';
import type { Principal, Role } from '../access/principal.ts';
import { invalidRequest } from './api-error.ts';
import { validate } from './validation.ts';

export interface ResponseSpec {
  readonly description: string;
  readonly schema?: z.ZodType;
  /** Of what is not JSON. */
  readonly contentType?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

export interface JsonReply {
  readonly kind: 'json';
  readonly status: number;
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
  /** What an idempotency key keeps in place of the body, where the body has a secret. */
  readonly bodyToKeep?: unknown;
}

/** Takes the response over: an event stream, a page, a text. */
export interface RawReply {
  readonly kind: 'raw';
  readonly send: (request: Request, response: Response) => void;
}

export type Reply = JsonReply | RawReply;

export interface CallContext {
  readonly principal: Principal;
  /** To be written in the transaction of what the request does, by routes that say `keepsOwnAnswer`. */
  readonly idempotency: IdempotencyEntry | undefined;
  /** Aborted when the caller has gone away. */
  readonly signal: AbortSignal;
  /** Throws when the token is no longer good. */
  readonly authenticateAgain: () => Promise<Principal>;
}

export interface Call<Params, Query, Body> extends CallContext {
  readonly params: Params;
  readonly query: Query;
  readonly body: Body;
}

export interface RouteDescription {
  readonly method: 'get' | 'post' | 'put' | 'delete';
  /** As Express writes it: `/api/v1/sessions/:id`. */
  readonly path: string;
  readonly operationId: string;
  readonly tag: string;
  readonly summary: string;
  readonly description?: string;
  readonly roles: readonly Role[] | 'public';
  readonly responses: Readonly<Record<number, ResponseSpec>>;
  /** Statuses of problems beside those that every route has. */
  readonly problems?: readonly number[];
  readonly isBodyOptional?: boolean;
  /** Headers that it reads, beside those of every route. */
  readonly requestHeaders?: Readonly<Record<string, string>>;
  /** The handler stores the answer under the idempotency key, in its own transaction. */
  readonly keepsOwnAnswer?: boolean;
  /** Turns a stored answer into the body; without it the stored answer is the body. */
  readonly toReplayedBody?: (answer: unknown) => unknown;
  /** Where what was made is: the `Location` of the answer, also of a replayed one. */
  readonly toLocation?: (body: unknown) => string;
  /** With `Prefer: wait`: the body when what was asked for has ended, or after the time. */
  readonly waitForEnd?: (body: unknown, wait: Wait) => Promise<unknown>;
}

export interface Wait {
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
}

/** A request whose parts have been found valid. */
export interface PreparedCall {
  /** SHA-256 of what was asked for: the same for the same request, whatever its white space. */
  readonly fingerprint: string;
  readonly invoke: (context: CallContext) => Promise<Reply>;
}

export interface RawParts {
  readonly params: unknown;
  readonly query: unknown;
  readonly body: unknown;
}

/** From this list both the router and the OpenAPI document are made. */
export interface Route extends RouteDescription {
  readonly params: z.ZodObject;
  readonly query: z.ZodObject;
  readonly body: z.ZodType | undefined;
  /** Throws `invalid_request` that names every wrong field. */
  readonly prepare: (parts: RawParts) => PreparedCall;
}

export interface RouteSpec<
  Params extends z.ZodObject,
  Query extends z.ZodObject,
  Body extends z.ZodType,
> extends RouteDescription {
  readonly params: Params;
  readonly query: Query;
  readonly body?: Body;
  readonly handler: (
    call: Call<z.infer<Params>, z.infer<Query>, z.infer<Body>>,
  ) => Promise<Reply> | Reply;
}

export function defineRoute<
  Params extends z.ZodObject,
  Query extends z.ZodObject,
  Body extends z.ZodType,
>(spec: RouteSpec<Params, Query, Body>): Route {
  const { handler, body: bodySchema, ...description } = spec;
  return {
    ...description,
    body: bodySchema,
    prepare(parts) {
      const params = validate(spec.params, parts.params, 'params');
      const query = validate(spec.query, parts.query, 'query');
      const body = bodySchema ? validate(bodySchema, parts.body, 'body') : { value: undefined };
      if (!('value' in params) || !('value' in query) || !('value' in body))
        throw invalidRequest(
          [params, query, body].flatMap((part) => ('errors' in part ? part.errors : [])),
        );
      const values = {
        params: params.value,
        query: query.value,
        // Without a schema there is nothing that a handler could read of it.
        // oxlint-disable-next-line typescript/no-unsafe-type-assertion
        body: body.value as z.infer<Body>,
      };
      return {
        fingerprint: fingerprintOf([query.value, body.value]),
        async invoke(context) {
          return handler({ ...context, ...values });
        },
      };
    },
  };
}

function fingerprintOf(value: unknown): string {
  return createHash('sha256')
    .update(JSON.stringify(sortKeys(value)))
    .digest('hex');
}

function sortKeys(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sortKeys);
  if (typeof value !== 'object' || value === null) return value;
  return Object.entries(value)
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, inner]) => [key, sortKeys(inner)]);
}

export function json(
  status: number,
  body?: unknown,
  extras: Pick<JsonReply, 'headers' | 'bodyToKeep'> = {},
): JsonReply {
  return { kind: 'json', status, body, ...extras };
}

export function text(status: number, contentType: string, content: string): RawReply {
  return {
    kind: 'raw',
    send: (_request, response) => {
      response.status(status).type(contentType).send(content);
    },
  };
}
