/**
 * Ends commands, and with each, in the same transaction, what it means for its session: the only way
 * a command ends. p_entries: [{command_id, agent_id?, status, error_code?, error_message?, result?}];
 * with agent_id given it must be that agent's. p_unsent_only: only what was never claimed (attempt 0).
 * The first ending wins. Only the command of the session's current generation changes the session.
 * Returns {commands, sessions, rings: [{agentId, ownerBootId}]} of what changed.
 */
export const finishCommandsSql = `
-- "rows 1", and volatile so that it is not looked into: for a hundred entries, which is what the planner takes a set
-- from JSON to be, it would read the whole index of a table that it believes to be small.
create function ending_entries(p_entries jsonb) returns table (command_id text, agent_id text, status text,
  error_code text, error_message text, result jsonb, place bigint) language sql volatile rows 1 as $$
  select distinct on (e.command_id, e.agent_id) e.*
  from rows from (jsonb_to_recordset(p_entries) as (command_id text, agent_id text, status text, error_code text,
    error_message text, result jsonb)) with ordinality
    as e(command_id, agent_id, status, error_code, error_message, result, place)
  order by e.command_id, e.agent_id, e.place
$$;
create function finish_commands(p_entries jsonb, p_unsent_only boolean) returns jsonb language plpgsql as $$
declare
  v_room_agents text[];
  v_sessions text[];
  v_stopping text[];
  v_ended agent_commands[];
  v_changed text[] := '{}';
  v_stopped text[];
  v_over text[];
begin
  select array_agg(distinct c.agent_id) filter (
      where c.session_id is not null
        and not (c.action in ('start_session', 'wake_session') and e.status = 'completed')),
    array_agg(distinct c.session_id) filter (where c.session_id is not null),
    array_agg(c.session_id) filter (where c.action = 'stop_session' and e.status = 'completed')
  into v_room_agents, v_sessions, v_stopping
  from ending_entries(p_entries) e
  join agent_commands c on c.command_id = e.command_id;

  if v_sessions is not null then
    perform from agent_queues where agent_id = any(v_room_agents) order by agent_id for no key update;
    perform from sessions where id = any(v_sessions) order by id for no key update;
  end if;
  -- What a stop overtakes ends with it, and comes before it: all of them are locked in one order.
  if v_stopping is not null then
    perform from agent_commands where is_open(status) and seq is not null and command_id in (
      select c.command_id from agent_commands c where c.session_id = any(v_stopping)
      union select e.command_id from ending_entries(p_entries) e
    ) order by agent_id, seq for no key update;
  end if;

  with entry as (
    select * from ending_entries(p_entries)
  ), locked as (
    -- With what is to be written, which would otherwise be looked for once more among all entries, for each.
    select c.command_id, e.status, e.error_code, e.error_message, e.result, e.place
    from entry e join agent_commands c using (command_id)
    where is_open(c.status) and c.seq is not null
      and (e.agent_id is null or e.agent_id = c.agent_id)
      and (not p_unsent_only or c.attempt = 0)
    order by c.agent_id, c.seq for no key update of c
  ), ended as (
    update agent_commands c set status = l.status, error_code = l.error_code,
      error_message = l.error_message, result = l.result, completed_at = now(), updated_at = now()
    from (select distinct on (command_id) * from locked order by command_id, place) l
    where c.command_id = l.command_id
    returning c.*
  )
  select array_agg(ended::agent_commands order by ended.agent_id, ended.seq) into v_ended from ended;

  if v_sessions is not null then
    with effect as (
      select s.id, e.error_code, e.error_message, e.result->'endpoint' as endpoint,
        case
          when e.action in ('start_session', 'wake_session') and e.status = 'completed'
            then case when s.state in ('pending', 'starting', 'waking') then 'running' end
          when e.action = 'start_session' and s.state in ('pending', 'starting') then 'failed'
          when e.action = 'wake_session' and s.state in ('waking')
            then case when e.status = 'failed' then 'failed' else 'hibernated' end
          when e.action = 'hibernate_session' and s.state = 'hibernating'
            then case when e.status = 'completed' then 'hibernated' else 'running' end
          when e.action = 'stop_session'
            then case when e.status = 'completed' then 'terminated' else s.state end
        end as state
      from unnest(v_ended) e join sessions s on s.id = e.session_id and s.generation = e.generation
      where s.state <> 'terminated'
    ), changed as (
      update sessions s set state = effect.state, phase = null, message = null,
        desired_state = case effect.state
          when 'running' then 'running' when 'hibernated' then 'hibernated' else s.desired_state end,
        error_code = case when effect.state = 'terminated' then s.error_code else effect.error_code end,
        error_message = case when effect.state = 'terminated' then s.error_message else effect.error_message end,
        endpoint_host = case when effect.state = 'running'
          then coalesce(effect.endpoint->>'host', s.endpoint_host) end,
        endpoint_port = case when effect.state = 'running'
          then coalesce((effect.endpoint->>'port')::integer, s.endpoint_port) end,
        started_at = case when effect.state = 'running' then coalesce(s.started_at, now()) else s.started_at end,
        ended_at = case when effect.state in ('terminated', 'failed') then now() end,
        updated_at = now()
      from effect where effect.id = s.id and effect.state is not null
      returning s.id, s.state
    )
    select coalesce(array_agg(id), '{}'), coalesce(array_agg(id) filter (where state = 'terminated'), '{}'),
      coalesce(array_agg(id) filter (where state in ('terminated', 'failed', 'hibernated')), '{}')
    into v_changed, v_stopped, v_over from changed;
    perform give_back_room(v_over);

    -- What the stop has overtaken ends with it.
    if v_stopped <> '{}' then
      with overtaken as (
        update agent_commands c set status = 'cancelled', error_code = 'superseded',
          error_message = 'The session was stopped.', completed_at = now(), updated_at = now()
        where c.session_id = any(v_stopped) and is_open(c.status) and c.seq is not null
        returning c.*
      )
      select v_ended || coalesce(array_agg(overtaken::agent_commands), '{}') into v_ended from overtaken;
    end if;
  end if;

  return jsonb_build_object(
    'commands', coalesce((select jsonb_agg(jsonb_build_object('command_id', e.command_id, 'agent_id', e.agent_id,
        'session_id', e.session_id, 'action', e.action, 'status', e.status, 'error_code', e.error_code,
        'error_message', e.error_message, 'updated_at', e.updated_at, 'user_id', s.user_id))
      from unnest(v_ended) e left join sessions s on s.id = e.session_id), '[]'),
    'sessions', coalesce((select jsonb_agg(session_row(s)) from sessions s where s.id = any(v_changed)), '[]'),
    'rings', coalesce((select jsonb_agg(jsonb_build_object('agentId', q.agent_id, 'ownerBootId', q.owner_boot_id))
      from agent_queues q where q.owner_boot_id is not null and q.agent_id in (
        select e.agent_id from unnest(v_ended) e)), '[]'));
end $$;
`;
