/** kind: deleted | not_found | has_sessions. Rows stay; what was open ends, and says so. */
export const deleteAgentSql = `
create function delete_agent(p_agent_id text, p_force boolean) returns jsonb language plpgsql as $$
declare
  v_queue agent_queues;
  v_sessions text[];
  v_changed jsonb;
begin
  select * into v_queue from agent_queues where agent_id = p_agent_id and deleted_at is null for no key update;
  if not found then return jsonb_build_object('kind', 'not_found'); end if;
  select coalesce(array_agg(id order by id), '{}') into v_sessions
    from sessions where agent_id = p_agent_id and state not in ('terminated', 'failed');
  if v_sessions <> '{}' and not p_force then
    return jsonb_build_object('kind', 'has_sessions', 'count', cardinality(v_sessions));
  end if;
  perform from sessions where id = any(v_sessions) order by id for no key update;
  v_changed := finish_commands((select coalesce(jsonb_agg(jsonb_build_object('command_id', command_id) || case
      when attempt = 0 then jsonb_build_object('status', 'cancelled', 'error_code', 'agent_deleted',
        'error_message', 'The agent was deleted before this was sent.')
      else jsonb_build_object('status', 'failed', 'error_code', 'outcome_unknown',
        'error_message', 'The agent was deleted; whether this ran is not known.') end), '[]')
    from agent_commands where agent_id = p_agent_id and completed_at is null and seq is not null), false);
  update sessions set
    state = case when desired_state = 'terminated' then 'terminated' else 'failed' end,
    error_code = 'agent_deleted', error_message = 'The agent that ran this session was deleted.',
    phase = null, message = null, endpoint_host = null, endpoint_port = null, ended_at = now(), updated_at = now()
  where id = any(v_sessions);
  perform give_back_room(v_sessions);
  update agent_queues set deleted_at = now(), owner_boot_id = null, connection_id = null,
    connection_epoch = connection_epoch + 1, disconnected_at = now() where agent_id = p_agent_id;
  delete from agent_keys where agent_id = p_agent_id;
  update agents set api_key_hash = null, updated_at = now() where agent_id = p_agent_id;
  return jsonb_build_object('kind', 'deleted', 'commands', v_changed->'commands',
    'sessions', coalesce((select jsonb_agg(session_row(s)) from sessions s where s.id = any(v_sessions)), '[]'));
end $$;
`;
