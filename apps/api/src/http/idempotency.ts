import type { IdempotencyEntry } from '@streamspace/commands';
import { queryRows, SqlState, sqlStateOf } from '@streamspace/database';
import type { Knex } from 'knex';
import { ApiError } from './api-error.ts';

const KEY = /^[\u0020-\u007e]{1,255}$/;

/** The header's value, or `undefined` where there is none; throws on what is no key. */
export function parseIdempotencyKey(header: string | undefined): string | undefined {
  if (header === undefined) return undefined;
  if (!KEY.test(header))
    throw new ApiError(
      400,
      'invalid_idempotency_key',
      'Idempotency-Key is 1 to 255 printable ASCII characters.',
    );
  return header;
}

export interface KeptAnswer {
  readonly status: number;
  readonly answer: unknown;
}

/**
 * Answers kept under their Idempotency-Key for 24 h. A key is written last in the transaction of what
 * it guards: of two requests at once the second fails there, with nothing written, and finds the
 * first one's answer.
 */
export class IdempotencyStore {
  readonly #db: Knex;

  constructor(db: Knex) {
    this.#db = db;
  }

  /** Throws `idempotency_key_reused` where another request has used the key. */
  async find(entry: IdempotencyEntry): Promise<KeptAnswer | undefined> {
    const [row] = await queryRows<{ request_hash: string; status: number; answer: unknown }>(
      this.#db,
      `select request_hash, status, answer from idempotency_keys
       where principal = :principal and method = :method and path = :path and key = :key`,
      { principal: entry.principal, method: entry.method, path: entry.path, key: entry.key },
    );
    if (!row) return undefined;
    if (row.request_hash !== entry.hash)
      throw new ApiError(
        422,
        'idempotency_key_reused',
        'This Idempotency-Key has served another request.',
      );
    return row;
  }

  /** In the transaction of what it guards; throws what `isTakenKey` knows. */
  async keep(
    entry: IdempotencyEntry | undefined,
    kept: KeptAnswer,
    db: Knex = this.#db,
  ): Promise<void> {
    if (!entry) return;
    const { hash, ...key } = entry;
    await db('idempotency_keys').insert({
      ...key,
      request_hash: hash,
      status: kept.status,
      answer: JSON.stringify(kept.answer ?? null),
    });
  }
}

/** A request with the same key was faster; its answer is there. */
export function isTakenKey(error: unknown): boolean {
  return (
    sqlStateOf(error) === SqlState.uniqueViolation &&
    error instanceof Error &&
    'constraint' in error &&
    error.constraint === 'idempotency_keys_pkey'
  );
}
