import type { Knex } from 'knex';

/** Bearer tokens (by SHA-256), idempotency keys, templates. */
export async function up(knex: Knex): Promise<void> {
  await knex.raw(`
    create table access_tokens (
      token_id text primary key,
      token_hash text not null unique,
      user_id varchar(255) not null references users(id) on delete cascade,
      role text not null check (role in ('admin', 'operator', 'user')),
      description text,
      created_at timestamptz not null default now(),
      expires_at timestamptz,
      revoked_at timestamptz
    );

    create table idempotency_keys (
      principal text not null,
      method text not null,
      path text not null,
      key text not null,
      request_hash text not null,
      status integer not null,
      answer jsonb not null,
      created_at timestamptz not null default now(),
      primary key (principal, method, path, key)
    );
    create index idempotency_keys_created on idempotency_keys (created_at);

    create table templates (
      name text primary key,
      spec jsonb not null,
      created_at timestamptz not null default now(),
      updated_at timestamptz not null default now()
    );
  `);
}
