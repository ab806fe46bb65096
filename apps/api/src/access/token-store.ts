import { queryRows } from '@streamspace/database';
import type { Knex } from 'knex';
import { v7 as uuidv7 } from 'uuid';
import { hashAccessToken, newAccessToken } from './access-token.ts';
import type { Principal, Role } from './principal.ts';

export interface StoredToken {
  readonly tokenId: string;
  readonly userId: string;
  readonly role: Role;
  readonly description: string | null;
  readonly createdAt: Date;
  readonly expiresAt: Date | null;
  readonly revokedAt: Date | null;
}

export interface NewToken {
  readonly userId: string;
  readonly role: Role;
  readonly description: string | null;
  /** undefined: never expires. */
  readonly expiresInMs: number | undefined;
}

export class TokenStore {
  readonly #db: Knex;

  constructor(db: Knex) {
    this.#db = db;
  }

  /** Whose token this is, if it is good now. */
  async findPrincipal(tokenHash: string): Promise<Principal | undefined> {
    const [row] = await queryRows<Principal>(
      this.#db,
      `select t.token_id as "tokenId", t.user_id as "userId", t.role
       from access_tokens t join users u on u.id = t.user_id
       where t.token_hash = :tokenHash and t.revoked_at is null
         and (t.expires_at is null or t.expires_at > now()) and coalesce(u.active, true)`,
      { tokenHash },
    );
    return row;
  }

  /** The token itself is answered this once and stored nowhere. */
  async create({ userId, role, description, expiresInMs }: NewToken): Promise<{
    readonly token: string;
    readonly tokenId: string;
  }> {
    const token = newAccessToken();
    const tokenId = `tok_${uuidv7()}`;
    await queryRows(
      this.#db,
      `insert into access_tokens (token_id, token_hash, user_id, role, description, expires_at)
       values (:tokenId, :tokenHash, :userId, :role, :description,
         now() + cast(:expiresInMs as bigint) * interval '1 millisecond')`,
      {
        tokenId,
        tokenHash: hashAccessToken(token),
        userId,
        role,
        description,
        expiresInMs: expiresInMs ?? null,
      },
    );
    return { token, tokenId };
  }

  async list(): Promise<readonly StoredToken[]> {
    return queryRows<StoredToken>(
      this.#db,
      `select token_id as "tokenId", user_id as "userId", role, description, created_at as "createdAt",
         expires_at as "expiresAt", revoked_at as "revokedAt"
       from access_tokens order by created_at, token_id`,
    );
  }

  /** False where there is none, or where it was revoked before. */
  async revoke(tokenId: string): Promise<boolean> {
    const rows = await queryRows(
      this.#db,
      `update access_tokens set revoked_at = now()
       where token_id = :tokenId and revoked_at is null returning token_id`,
      { tokenId },
    );
    return rows.length > 0;
  }

  /** The id of the user of that name, who is made where there is none. */
  async ensureUser(name: string, role: Role): Promise<string> {
    await queryRows(
      this.#db,
      'insert into users (id, username, role) values (:name, :name, :role) on conflict do nothing',
      { name, role },
    );
    const [user] = await queryRows<{ id: string }>(
      this.#db,
      'select id from users where id = :name or username = :name order by id = :name desc limit 1',
      { name },
    );
    if (!user) throw new Error(`user '${name}' vanished while a token was made`);
    return user.id;
  }
}
