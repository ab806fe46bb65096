/**
 * Stores what an agent answered to \`resume\`, under its epoch. Held: it is with the agent, under this
 * epoch. Unknown: it never got there and goes back to its old place, unless its cancellation was asked
 * for, it was alone in flight five times (an agent that dies of it), or it is the agent's own command
 * that a lost journal had taken: those end, by the caller, and stay unresolved until they have, so that
 * nobody claims them should the caller die. kind: settled | fenced.
 */
export const settleResumedSql = `
create function settle_resumed(p jsonb) returns jsonb language plpgsql as $$
declare
  v_epoch bigint := (p->>'epoch')::bigint;
  v_endings jsonb;
begin
  perform from agent_queues where agent_id = p->>'agentId' and connection_epoch = v_epoch for key share;
  if not found then return jsonb_build_object('kind', 'fenced'); end if;
  perform from agent_commands
    where command_id in (select jsonb_array_elements_text((p->'held') || (p->'unknown'))) and agent_id = p->>'agentId'
    order by seq for no key update;

  update agent_commands set status = 'acknowledged', sent_epoch = v_epoch,
    acknowledged_at = coalesce(acknowledged_at, now()), updated_at = now()
  where command_id in (select jsonb_array_elements_text(p->'held')) and agent_id = p->>'agentId'
    and is_open(status) and attempt > 0;

  select coalesce(jsonb_agg(ending.entry), '[]') into v_endings from (
    select jsonb_build_object('command_id', c.command_id, 'agent_id', c.agent_id) || case
      when c.cancel_requested_at is not null then jsonb_build_object('status', 'cancelled',
        'error_code', 'cancelled', 'error_message', 'Cancelled before it ran.')
      when c.status = 'sent' and c.solo_deliveries + (p->>'alone')::integer >= 5 then jsonb_build_object(
        'status', 'failed', 'error_code', 'delivery_exhausted',
        'error_message', 'The connection broke each of the five times that this command alone was being delivered.')
      when c.status = 'acknowledged' and c.session_id is null and (p->>'journalChanged')::boolean then
        jsonb_build_object('status', 'failed', 'error_code', 'outcome_unknown', 'error_message',
        'The agent lost its journal after it had taken this command; whether it ran is not known.')
      when c.action = 'start_session' and not exists (select from sessions s where s.id = c.session_id) then
        jsonb_build_object('status', 'failed', 'error_code', 'session_unknown',
        'error_message', 'The session of this command does not exist.')
    end as entry
    from agent_commands c
    where c.command_id in (select jsonb_array_elements_text(p->'unknown')) and c.agent_id = p->>'agentId'
      and is_open(c.status) and c.attempt > 0
  ) ending where ending.entry is not null;

  update agent_commands c set status = 'pending', sent_epoch = v_epoch, updated_at = now(),
    solo_deliveries = c.solo_deliveries + case when c.status = 'sent' then (p->>'alone')::integer else 0 end
  where c.command_id in (select jsonb_array_elements_text(p->'unknown')) and c.agent_id = p->>'agentId'
    and is_open(c.status) and c.attempt > 0
    and c.command_id not in (select ending->>'command_id' from jsonb_array_elements(v_endings) ending);
  return jsonb_build_object('kind', 'settled', 'endings', v_endings);
end $$;
`;
