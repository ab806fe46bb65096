import type { Knex } from 'knex';

/** Who this control plane is (agents bind their journals to it), and which replicas it runs. */
export async function up(knex: Knex): Promise<void> {
  await knex.raw(`
    create table installation (
      id text primary key default gen_random_uuid()::text,
      singleton boolean not null unique default true check (singleton),
      created_at timestamptz not null default now()
    );
    insert into installation default values;

    create table replicas (
      boot_id text primary key,
      name text not null,
      address text,
      version text not null,
      draining boolean not null default false,
      started_at timestamptz not null default now(),
      beat_at timestamptz not null default now()
    ) with (fillfactor = 50);
  `);
}
