import type { Knex } from 'knex';

/**
 * A database as the Go control plane leaves it, as far as this project cares: its column types (times
 * without a zone, nullable nearly everywhere), its indexes and cascades, and the rows that have gone
 * wrong there. Times were written in the server's local time, UTC in practice.
 */
const SCHEMA = `
  create table organizations (
    id varchar(255) primary key,
    name varchar(255) not null,
    display_name varchar(255),
    k8s_namespace varchar(255),
    status varchar(50) default 'active',
    created_at timestamp default current_timestamp
  );
  create table users (
    id varchar(255) primary key,
    username varchar(255) unique not null,
    email varchar(255),
    password_hash varchar(255),
    role varchar(50) default 'user',
    active boolean default true,
    org_id varchar(255) references organizations(id) on delete cascade,
    created_at timestamp default current_timestamp,
    updated_at timestamp default current_timestamp
  );
  create table agents (
    id uuid primary key default gen_random_uuid(),
    agent_id varchar(255) unique not null,
    platform varchar(50) not null,
    region varchar(100),
    status varchar(50) default 'offline',
    capacity jsonb,
    last_heartbeat timestamp,
    websocket_id varchar(255),
    metadata jsonb,
    cluster_id varchar(255),
    cluster_name varchar(255),
    api_key_hash varchar(255),
    api_key_created_at timestamp,
    api_key_last_used_at timestamp,
    org_id varchar(255) references organizations(id) on delete cascade,
    approval_status varchar(20) default 'approved',
    approved_at timestamp,
    approved_by varchar(255),
    created_at timestamp default current_timestamp,
    updated_at timestamp default current_timestamp
  );
  create index idx_agents_platform_status on agents (platform, status);
  create table agent_commands (
    id uuid primary key default gen_random_uuid(),
    command_id varchar(255) unique not null,
    agent_id varchar(255) references agents(agent_id) on delete cascade,
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
  create index idx_agent_commands_command_id on agent_commands (command_id);
  create index idx_agent_commands_status on agent_commands (status);
  create index idx_agent_commands_agent_status on agent_commands (agent_id, status);
  create table sessions (
    id varchar(255) primary key,
    user_id varchar(255) references users(id) on delete cascade,
    team_id varchar(255),
    template_name varchar(255),
    state varchar(50),
    app_type varchar(50) default 'desktop',
    active_connections integer default 0,
    url text,
    namespace varchar(255) default 'streamspace',
    platform varchar(50) default 'kubernetes',
    controller_id varchar(255),
    agent_id varchar(255) references agents(agent_id),
    platform_metadata jsonb,
    pod_name varchar(255),
    memory varchar(50),
    cpu varchar(50),
    persistent_home boolean default false,
    idle_timeout varchar(50),
    last_activity timestamp,
    tags text[],
    org_id varchar(255) references organizations(id) on delete cascade,
    streaming_protocol varchar(50) default 'vnc',
    streaming_port integer default 5900,
    streaming_path varchar(255),
    created_at timestamp default current_timestamp,
    updated_at timestamp default current_timestamp
  );
  create index idx_sessions_user_state on sessions (user_id, state);
`;

/** The session of stop number `n`: what it runs in is zero-padded, so that names sort as numbers do. */
const stoppingSession = (n: number): string => `grace-editor-${String(n).padStart(3, '0')}`;

export const upstream = {
  agentId: 'go-cluster',
  idleAgentId: 'go-docker',
  bcryptHash: '$2a$12$Jb0pRz2v8m0pYc6QbQ7r3eYw1aT7m9h8Xo2dKq4s5uE6iF7gH8jKl',
  pendingStops: 37,
  /** The stop whose session is named in its payload only. */
  stopWithoutSessionId: 'cmd-go-stop-020',
  stoppingSession,
  odd: {
    failed: 'cmd-go-odd-failed',
    sentStart: 'cmd-go-odd-sent',
    acknowledgedStop: 'cmd-go-odd-ack',
    completed: 'cmd-go-odd-completed',
  },
} as const;

/**
 * The stops are inserted in no particular order and two of them have the same time: their order is
 * (created_at, id), and an id is random there.
 */
const ROWS = `
  insert into organizations (id, name, k8s_namespace) values ('default-org', 'default', 'streamspace');
  insert into users (id, username, role, org_id) values
    ('root', 'root', 'admin', 'default-org'), ('u-grace', 'grace', 'user', 'default-org');
  insert into agents (agent_id, platform, region, status, capacity, last_heartbeat, api_key_hash, org_id,
    created_at, updated_at) values
    ('${upstream.agentId}', 'kubernetes', 'eu-west-1', 'online',
      '{"maxSessions": 60, "cpu": "64 cores", "memory": "128Gi", "storage": "1Ti"}',
      '2025-07-01 10:00:00', '${upstream.bcryptHash}', 'default-org', '2025-06-01 00:00:00', '2025-07-01 10:00:00'),
    ('${upstream.idleAgentId}', 'docker', null, 'offline', null, null, null, 'default-org',
      '2025-06-02 00:00:00', '2025-06-02 00:00:00');
  insert into sessions (id, user_id, template_name, state, agent_id, memory, cpu, tags, org_id, created_at, updated_at)
    select 'grace-editor-' || lpad(n::text, 3, '0'), case when n % 2 = 0 then 'root' else 'u-grace' end, 'editor',
      case when n <= 37 then 'terminating' when n <= 41 then 'running' when n = 42 then 'hibernated'
        when n = 43 then 'deleted' when n = 44 then 'failed' else 'terminated' end,
      '${upstream.agentId}', case when n = 41 then null else '2Gi' end, case when n = 41 then 'plenty' else '500m' end,
      array['made-by-go'], 'default-org',
      timestamp '2025-07-01 08:00:00' + n * interval '1 minute', timestamp '2025-07-01 09:00:00' + n * interval '1 minute'
    from generate_series(1, 45) n;
  insert into sessions (id, user_id, template_name, state, agent_id, created_at, updated_at)
    values ('without-an-agent', 'root', 'editor', null, null, '2025-07-01 08:00:00', null);
  insert into agent_commands (command_id, agent_id, session_id, action, payload, status, created_at)
    select 'cmd-go-stop-' || lpad(n::text, 3, '0'), '${upstream.agentId}',
      case when n <> 20 then 'grace-editor-' || lpad(n::text, 3, '0') end, 'stop_session',
      jsonb_build_object('sessionId', 'grace-editor-' || lpad(n::text, 3, '0'), 'namespace', 'streamspace'), 'pending',
      timestamp '2025-07-01 10:00:00.000001' + (case when n = 8 then 7 else n end) * interval '15 seconds'
    from generate_series(1, 37) n order by md5(n::text);
  insert into agent_commands (command_id, agent_id, session_id, action, payload, status, error_message, created_at,
    sent_at, acknowledged_at, completed_at) values
    ('${upstream.odd.failed}', '${upstream.agentId}', null, 'start_session', null, 'failed', 'agent is not connected',
      '2025-07-01 07:00:00', null, null, null),
    ('${upstream.odd.sentStart}', '${upstream.idleAgentId}', 'never-was', 'start_session', '{}', 'sent', null,
      '2025-07-01 07:01:00', '2025-07-01 07:01:00', null, null),
    ('${upstream.odd.acknowledgedStop}', '${upstream.agentId}', 'never-was-either', 'stop_session', '{}', 'ack', null,
      '2025-07-01 07:02:00', '2025-07-01 07:02:00', '2025-07-01 07:02:01', null),
    ('${upstream.odd.completed}', '${upstream.agentId}', 'grace-editor-045', 'start_session',
      '{"sessionId": "grace-editor-045"}', 'completed', null,
      '2025-07-01 07:03:00', '2025-07-01 07:03:00', '2025-07-01 07:03:01', '2025-07-01 07:03:09.123456');
`;

/** Into an empty database. */
export async function loadUpstreamDatabase(db: Knex): Promise<void> {
  await db.raw(SCHEMA);
  await db.raw(ROWS);
}
