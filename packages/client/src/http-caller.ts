import type { z } from 'zod';
import { toProblemError } from './problem-error.ts';

export interface CallerOptions {
  /** Of the control plane, without `/api/v1`. */
  readonly url: string;
  readonly token: string;
  readonly fetch?: typeof fetch;
}

export interface CallOptions {
  readonly signal?: AbortSignal | undefined;
}

/** For what changes something. */
export interface ChangeOptions extends CallOptions {
  /** Makes a POST safe to repeat. */
  readonly idempotencyKey?: string | undefined;
  /** `Prefer: wait`: answers when what was asked for has ended, or after so many seconds. */
  readonly waitSeconds?: number | undefined;
}

export interface Call extends ChangeOptions {
  readonly method?: 'GET' | 'POST' | 'PUT' | 'DELETE';
  readonly path: readonly string[];
  readonly query?: object;
  readonly body?: unknown;
}

/** Sends requests; throws `ProblemError` for every answer that is not 2xx. */
export class HttpCaller {
  readonly #options: CallerOptions;

  constructor(options: CallerOptions) {
    this.#options = options;
  }

  async json<Schema extends z.ZodType>(schema: Schema, call: Call): Promise<z.infer<Schema>> {
    const response = await this.send(call);
    return schema.parse(await response.json());
  }

  async nothing(call: Call): Promise<void> {
    const response = await this.send(call);
    await response.arrayBuffer();
  }

  async send(call: Call, headers: Readonly<Record<string, string>> = {}): Promise<Response> {
    const { method = 'GET', body, signal } = call;
    const send = this.#options.fetch ?? fetch;
    const response = await send(this.#urlOf(call), {
      method,
      headers: { ...this.#headersOf(call), ...headers },
      ...(body !== undefined && { body: JSON.stringify(body) }),
      ...(signal && { signal }),
    });
    if (!response.ok) throw toProblemError(response, await response.text());
    return response;
  }

  #urlOf({ path, query = {} }: Call): URL {
    const base = this.#options.url.replace(/\/+$/, '');
    const url = new URL(`${base}/api/v1/${path.map(encodeURIComponent).join('/')}`);
    for (const [name, value] of Object.entries(query))
      if (value !== undefined) url.searchParams.set(name, String(value));
    return url;
  }

  #headersOf({ body, idempotencyKey, waitSeconds }: Call): Record<string, string> {
    return {
      authorization: `Bearer ${this.#options.token}`,
      ...(body !== undefined && { 'content-type': 'application/json' }),
      ...(idempotencyKey !== undefined && { 'idempotency-key': idempotencyKey }),
      ...(waitSeconds !== undefined && { prefer: `wait=${waitSeconds}` }),
    };
  }
}
