/**
 * Reserves room on one agent and writes session and command, or writes nothing. Room is compared in
 * the update's own \`where\`: that is looked at again after a wait, a count would not be.
 * p: {agentId, sessionId, commandId, userId, name?, template, platform, region?, labels, protocol, port,
 *     payload, cpu?, memory?, cpuMillis, memoryBytes, onVanished, expiresInMs, maxQueued, idempotency?}
 * kind: accepted | no_room | queue_full.
 */
export const startSessionSql = `
create function start_session(p jsonb) returns jsonb language plpgsql as $$
declare
  v_cpu bigint := (p->>'cpuMillis')::bigint;
  v_memory bigint := (p->>'memoryBytes')::bigint;
  v_queue agent_queues;
  v_session sessions;
  v_command agent_commands;
  v_answer jsonb;
begin
  select * into v_queue from agent_queues where agent_id = p->>'agentId';
  if queue_is_full(v_queue, 1, (p->>'maxQueued')::integer) then
    return jsonb_build_object('kind', 'queue_full');
  end if;
  update agent_queues q set next_seq = q.next_seq + 1,
    reserved_sessions = q.reserved_sessions + 1,
    reserved_cpu_millis = q.reserved_cpu_millis + v_cpu,
    reserved_memory_bytes = q.reserved_memory_bytes + v_memory
  where q.agent_id = p->>'agentId' and q.deleted_at is null and not q.cordoned
    and (q.max_sessions is null or q.reserved_sessions < q.max_sessions)
    and (q.capacity_cpu_millis is null or q.reserved_cpu_millis + v_cpu <= q.capacity_cpu_millis)
    and (q.capacity_memory_bytes is null or q.reserved_memory_bytes + v_memory <= q.capacity_memory_bytes)
  returning * into v_queue;
  if not found then return jsonb_build_object('kind', 'no_room'); end if;

  insert into sessions (id, name, user_id, template_name, state, desired_state, platform, labels, agent_id, memory,
    cpu, streaming_protocol, streaming_port, generation, start_payload, on_vanished, holds_room,
    room_cpu_millis, room_memory_bytes, created_at, updated_at)
  values (p->>'sessionId', p->>'name', p->>'userId', p->>'template', 'pending', 'running', p->>'platform',
    p->'labels', p->>'agentId', p->>'memory', p->>'cpu', p->>'protocol', (p->>'port')::integer, 1, p->'payload',
    p->>'onVanished', true, v_cpu, v_memory, now(), now())
  returning * into v_session;
  insert into agent_commands (command_id, agent_id, session_id, action, payload, seq, generation, expires_at,
    created_at, updated_at)
  values (p->>'commandId', p->>'agentId', p->>'sessionId', 'start_session', p->'payload', v_queue.next_seq - 1, 1,
    now() + (p->>'expiresInMs')::bigint * interval '1 millisecond', now(), now())
  returning * into v_command;

  v_answer := jsonb_build_object('session', session_row(v_session), 'command', command_row(v_command));
  if p->'idempotency' is not null then
    insert into idempotency_keys (principal, method, path, key, request_hash, status, answer)
    select i.principal, i.method, i.path, i.key, i.hash, 202, v_answer
    from jsonb_to_record(p->'idempotency') as i(principal text, method text, path text, key text, hash text);
  end if;
  return v_answer || jsonb_build_object('kind', 'accepted', 'ownerBootId', v_queue.owner_boot_id);
end $$;
`;
