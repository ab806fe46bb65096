import type { Knex } from 'knex';

const TABLES = `
  create table if not exists organizations (
    id varchar(255) primary key,
    name varchar(255) not null,
    created_at timestamp default current_timestamp
  );
  create table if not exists users (
    id varchar(255) primary key,
    username varchar(255) unique not null,
    email varchar(255),
    role varchar(50) default 'user',
    active boolean default true,
    org_id varchar(255) references organizations(id) on delete cascade,
    created_at timestamp default current_timestamp,
    updated_at timestamp default current_timestamp
  );
  create table if not exists agents (
    id uuid primary key default gen_random_uuid(),
    agent_id varchar(255) unique not null,
    platform varchar(50) not null,
    region varchar(100),
    status varchar(50) default 'offline',
    capacity jsonb,
    last_heartbeat timestamp,
    metadata jsonb,
    api_key_hash varchar(255),
    org_id varchar(255) references organizations(id) on delete cascade,
    approval_status varchar(20) default 'approved',
    created_at timestamp default current_timestamp,
    updated_at timestamp default current_timestamp
  );
  create table if not exists agent_commands (
    id uuid primary key default gen_random_uuid(),
    command_id varchar(255) unique not null,
    agent_id varchar(255) references agents(agent_id),
    session_id varchar(255),
    action varchar(50) not null,
    payload jsonb,
    status varchar(50) default 'pending',
    error_message text,
    created_at timestamp default current_timestamp,
    sent_at timestamp,
    acknowledged_at timestamp,
    completed_at timestamp
  );
  create table if not exists sessions (
    id varchar(255) primary key,
    user_id varchar(255) references users(id) on delete cascade,
    template_name varchar(255),
    state varchar(50),
    platform varchar(50) default 'kubernetes',
    agent_id varchar(255) references agents(agent_id),
    memory varchar(50),
    cpu varchar(50),
    created_at timestamp default current_timestamp,
    updated_at timestamp default current_timestamp
  );
  alter table agents add column if not exists api_key_hash varchar(255);
  alter table agents add column if not exists approval_status varchar(20) default 'approved';
  alter table sessions add column if not exists streaming_protocol varchar(50) default 'vnc';
  alter table sessions add column if not exists streaming_port integer default 5900;
  alter table agent_commands alter column status set default 'pending';
`;

/**
 * The tables of the Go control plane, as far as this one uses them. On a database of its own they are
 * already there and only lack columns that its in-code schema added late or never.
 */
export async function up(knex: Knex): Promise<void> {
  await knex.raw(TABLES);
}
