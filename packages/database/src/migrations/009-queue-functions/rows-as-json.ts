/** Rows as the stores parse them. An int8 goes as text: JSON numbers end at 2^53. Secrets stay behind. */
export const rowsAsJsonSql = `
create function session_row(s sessions) returns jsonb language sql stable as $$
  select to_jsonb(s) - 'start_payload' - 'tags' - 'snapshot_config' - 'platform_metadata'
    || jsonb_build_object('agent_state', (select state from agent_states a where a.agent_id = s.agent_id))
$$;
create function command_row(c agent_commands) returns jsonb language sql immutable as $$
  select to_jsonb(c) - 'id' - 'payload' || jsonb_build_object('seq', c.seq::text)
$$;
-- What a live event says of a command.
create function command_summary(c agent_commands, user_id text) returns jsonb language sql immutable as $$
  select jsonb_build_object('command_id', c.command_id, 'agent_id', c.agent_id, 'session_id', c.session_id,
    'action', c.action, 'status', c.status, 'error_code', c.error_code, 'error_message', c.error_message,
    'updated_at', c.updated_at, 'user_id', user_id)
$$;
-- Looked at before the lock, so it may be exceeded by what is in flight. The head lags, so what lies behind it is at
-- most what is open: only a queue that might be full is counted.
create function queue_is_full(q agent_queues, p_more integer, p_max integer) returns boolean language sql stable as $$
  select q.next_seq - 1 - q.head_seq + p_more > p_max and p_more + (
    select count(*) from (select from agent_commands c
      where c.agent_id = q.agent_id and c.completed_at is null and c.seq > q.head_seq limit p_max) open) > p_max
$$;
create function give_back_room(p_session_ids text[]) returns void language sql as $$
  with released as (
    update sessions set holds_room = false where id = any(p_session_ids) and holds_room
    returning agent_id, room_cpu_millis, room_memory_bytes
  ), freed as (
    select agent_id, count(*) as sessions, sum(room_cpu_millis) as cpu, sum(room_memory_bytes) as memory
    from released group by agent_id
  )
  update agent_queues q set
    reserved_sessions = greatest(0, q.reserved_sessions - freed.sessions),
    reserved_cpu_millis = greatest(0, q.reserved_cpu_millis - freed.cpu),
    reserved_memory_bytes = greatest(0, q.reserved_memory_bytes - freed.memory)
  from freed where freed.agent_id = q.agent_id
$$;
`;
