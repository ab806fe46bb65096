/**
 * Sessions that their agent says are gone. p_entries: [{session_id, agent_id, generation, code,
 * message, before?}]; only a running session of that generation without an open command fails, and
 * with \`before\` (a time stamp) only one that has not changed since.
 */
export const failSessionsSql = `
create function fail_sessions(p_entries jsonb) returns jsonb language plpgsql as $$
declare
  v_failed text[];
begin
  perform from agent_queues where agent_id in (
    select s.agent_id from jsonb_to_recordset(p_entries) as e(session_id text) join sessions s on s.id = e.session_id
  ) order by agent_id for no key update;
  perform from sessions where id in (
    select e.session_id from jsonb_to_recordset(p_entries) as e(session_id text)
  ) order by id for no key update;
  with failed as (
    update sessions s set state = 'failed', phase = null, message = null, error_code = e.code,
      error_message = e.message, endpoint_host = null, endpoint_port = null, ended_at = now(), updated_at = now()
    from jsonb_to_recordset(p_entries)
      as e(session_id text, agent_id text, generation bigint, code text, message text, before timestamptz)
    where s.id = e.session_id and s.agent_id = e.agent_id and s.state = 'running' and s.generation = e.generation
      and (e.before is null or s.updated_at < e.before)
      and not exists (select from agent_commands c
        where c.session_id = s.id and is_open(c.status) and c.seq is not null)
    returning s.id
  )
  select coalesce(array_agg(id), '{}') into v_failed from failed;
  perform give_back_room(v_failed);
  return coalesce((select jsonb_agg(session_row(s)) from sessions s where s.id = any(v_failed)), '[]');
end $$;
`;
