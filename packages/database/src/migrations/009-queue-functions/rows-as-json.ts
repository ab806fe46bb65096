/** Rows as the stores parse them. An int8 goes as text: JSON numbers end at 2^53. Secrets stay behind. */
export const rowsAsJsonSql = `
-- Has not ended. Says what \`completed_at is null\` says, in words that the open index is not made of: who looks for
-- commands by id or by session must not be led through everything that is open.
create function is_open(status varchar) returns boolean language sql immutable as $$
  select status in ('pending', 'sent', 'acknowledged')
$$;
create function session_row(s sessions) returns jsonb language sql stable as $$
  select to_jsonb(s) - 'start_payload' - 'tags' - 'snapshot_config' - 'platform_metadata'
    || jsonb_build_object('agent_state', (select state from agent_states a where a.agent_id = s.agent_id))
$$;
create function command_row(c agent_commands) returns jsonb language sql immutable as $$
  select to_jsonb(c) - 'id' - 'payload' || jsonb_build_object('seq', c.seq::text)
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
