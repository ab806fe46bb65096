/**
 * Hibernate, wake, stop, and starting again. p: {sessionId, action, commandId, expiresInMs?, maxQueued,
 * repair?, idempotency?}. \`repair\` is the control plane's own: it may act on what has ended.
 * kind: accepted | nothing_to_do | not_found | wrong_state | busy | no_room | queue_full.
 * A stop cancels what is open: never sent ends here, the rest with the agent's answer. A stop of a
 * start that was never sent ends both here, and no agent hears of either.
 */
export const changeSessionSql = `
create function change_session(p jsonb) returns jsonb language plpgsql as $$
declare
  v_action text := p->>'action';
  v_repair boolean := coalesce((p->>'repair')::boolean, false);
  v_agent text;
  v_queue agent_queues;
  v_session sessions;
  v_command agent_commands;
  v_answer jsonb;
  v_superseded jsonb;
  v_unsent boolean;
  v_over boolean := false;
begin
  select agent_id into v_agent from sessions where id = p->>'sessionId';
  if not found then return jsonb_build_object('kind', 'not_found'); end if;
  select * into v_queue from agent_queues where agent_id = v_agent for no key update;
  select * into v_session from sessions where id = p->>'sessionId' for no key update;

  if v_action = 'stop_session' then
    select * into v_command from agent_commands
      where session_id = v_session.id and action = 'stop_session' and is_open(status) and seq is not null
      order by seq desc limit 1;
    if v_command.command_id is not null then
      v_answer := jsonb_build_object('session', session_row(v_session), 'command', command_row(v_command));
      return v_answer || jsonb_build_object('kind', 'accepted', 'ownerBootId', v_queue.owner_boot_id);
    end if;
    if v_session.state = 'terminated' and not v_repair then
      return jsonb_build_object('kind', 'nothing_to_do', 'session', session_row(v_session));
    end if;
    -- A claim holds neither of the locks above: it is waited for here, before anything is taken for unsent.
    perform from agent_commands where session_id = v_session.id and is_open(status) and seq is not null
      order by seq for no key update;
    v_unsent := v_session.state = 'pending' and not exists (
      select from agent_commands where session_id = v_session.id and (attempt > 0 or action <> 'start_session'));
    v_over := v_unsent or v_queue.agent_id is null or v_queue.deleted_at is not null;
  else
    if exists (select from agent_commands
        where session_id = v_session.id and is_open(status) and seq is not null) then
      return jsonb_build_object('kind', 'busy', 'session', session_row(v_session));
    end if;
    if v_queue.agent_id is null or v_queue.deleted_at is not null or not coalesce(case v_action
        when 'hibernate_session' then v_session.state = 'running' or (v_repair and v_session.state = 'hibernated')
        when 'wake_session' then v_session.state = 'hibernated' and v_session.start_payload is not null
        when 'start_session' then v_repair and v_session.state = 'running' and v_session.start_payload is not null
      end, false) then
      return jsonb_build_object('kind', 'wrong_state', 'session', session_row(v_session));
    end if;
    if queue_is_full(v_queue, 1, (p->>'maxQueued')::integer) then
      return jsonb_build_object('kind', 'queue_full');
    end if;
  end if;

  if v_action = 'wake_session' then
    if (v_queue.max_sessions is not null and v_queue.reserved_sessions >= v_queue.max_sessions)
      or v_queue.reserved_cpu_millis + v_session.room_cpu_millis > v_queue.capacity_cpu_millis
      or v_queue.reserved_memory_bytes + v_session.room_memory_bytes > v_queue.capacity_memory_bytes then
      return jsonb_build_object('kind', 'no_room', 'session', session_row(v_session));
    end if;
    update agent_queues q set reserved_sessions = q.reserved_sessions + 1,
      reserved_cpu_millis = q.reserved_cpu_millis + v_session.room_cpu_millis,
      reserved_memory_bytes = q.reserved_memory_bytes + v_session.room_memory_bytes
    where q.agent_id = v_agent;
  end if;

  if v_action = 'stop_session' then
    with asked as (
      update agent_commands c set
        cancel_requested_at = now(), updated_at = now(),
        status = case when attempt = 0 then 'cancelled' else status end,
        error_code = case when attempt = 0 then 'superseded' end,
        error_message = case when attempt = 0 then 'The session was stopped.' end,
        completed_at = case when attempt = 0 then now() end
      where session_id = v_session.id and is_open(status) and seq is not null
      returning c.*
    )
    select jsonb_agg(command_row(asked::agent_commands)) into v_superseded
    from asked where completed_at is not null;
  end if;

  update sessions set
    generation = generation + 1,
    state = case
      when v_over then 'terminated'
      when v_repair and state in ('terminated', 'hibernated') then state
      else case v_action when 'stop_session' then 'terminating' when 'hibernate_session' then 'hibernating'
        when 'wake_session' then 'waking' else 'starting' end end,
    desired_state = case v_action when 'stop_session' then 'terminated'
      when 'hibernate_session' then 'hibernated' else 'running' end,
    holds_room = case when v_action = 'wake_session' then true else holds_room end,
    ended_at = case when v_over then coalesce(ended_at, now()) when v_action = 'stop_session' then ended_at end,
    phase = null, message = null,
    error_code = case when v_action = 'stop_session' then error_code end,
    error_message = case when v_action = 'stop_session' then error_message end,
    updated_at = now()
  where id = v_session.id returning * into v_session;
  if v_over then
    perform give_back_room(array[v_session.id::text]);
    select * into v_session from sessions where id = v_session.id;
  end if;

  if v_queue.agent_id is not null then
    update agent_queues set next_seq = next_seq + 1 where agent_id = v_agent;
    insert into agent_commands (command_id, agent_id, session_id, action, payload, seq, generation, status,
      expires_at, completed_at, created_at, updated_at)
    values (p->>'commandId', v_agent, v_session.id, v_action,
      case when v_action in ('wake_session', 'start_session') then v_session.start_payload else '{}' end,
      v_queue.next_seq, v_session.generation, case when v_over then 'completed' else 'pending' end,
      case when v_action <> 'stop_session' then now() + (p->>'expiresInMs')::bigint * interval '1 millisecond' end,
      case when v_over then now() end, now(), now())
    returning * into v_command;
  end if;

  v_answer := jsonb_build_object('session', session_row(v_session),
    'command', case when v_command.command_id is not null then command_row(v_command) end);
  if p->'idempotency' is not null then
    insert into idempotency_keys (principal, method, path, key, request_hash, status, answer)
    select i.principal, i.method, i.path, i.key, i.hash, 202, v_answer
    from jsonb_to_record(p->'idempotency') as i(principal text, method text, path text, key text, hash text);
  end if;
  return v_answer || jsonb_build_object('kind', 'accepted', 'superseded', coalesce(v_superseded, '[]'),
    'ownerBootId', case when not v_over then v_queue.owner_boot_id end);
end $$;
`;
