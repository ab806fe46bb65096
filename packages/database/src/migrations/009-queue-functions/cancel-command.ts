/**
 * Asks for a command's cancellation. Never claimed: it ends here. Claimed: the agent is asked, and its
 * answer is the truth. kind: accepted | not_found | ended | stop. Returns the command and what changed.
 */
export const cancelCommandSql = `
create function cancel_command(p_command_id text) returns jsonb language plpgsql as $$
declare
  v_command agent_commands;
  v_changed jsonb;
begin
  select * into v_command from agent_commands where command_id = p_command_id;
  if not found then return jsonb_build_object('kind', 'not_found'); end if;
  if v_command.action = 'stop_session' and v_command.completed_at is null then
    return jsonb_build_object('kind', 'stop', 'command', command_row(v_command));
  end if;
  v_changed := finish_commands(jsonb_build_array(jsonb_build_object('command_id', p_command_id,
    'status', 'cancelled', 'error_code', 'cancelled', 'error_message', 'Cancelled before it was sent.')), true);
  if v_changed->'commands' = '[]' then
    update agent_commands set cancel_requested_at = coalesce(cancel_requested_at, now()), updated_at = now()
    where command_id = p_command_id and is_open(status) and seq is not null;
    if not found then
      select * into v_command from agent_commands where command_id = p_command_id;
      return jsonb_build_object('kind', 'ended', 'command', command_row(v_command));
    end if;
  end if;
  select * into v_command from agent_commands where command_id = p_command_id;
  return jsonb_build_object('kind', 'accepted', 'command', command_row(v_command), 'changed', v_changed,
    'epoch', (select connection_epoch from agent_queues where agent_id = v_command.agent_id));
end $$;
`;
