/** Commands for the agent itself. p: {agentId, action, commands: [{id, payload}], expiresInMs, maxQueued, idempotency?}. */
export const enqueueAgentCommandsSql = `
create function enqueue_agent_commands(p jsonb) returns jsonb language plpgsql as $$
declare
  v_count integer := jsonb_array_length(p->'commands');
  v_max integer := (p->>'maxQueued')::integer;
  v_queue agent_queues;
  v_commands jsonb;
begin
  select * into v_queue from agent_queues where agent_id = p->>'agentId';
  if queue_is_full(v_queue, v_count, v_max) then
    return jsonb_build_object('kind', 'queue_full');
  end if;
  update agent_queues set next_seq = next_seq + v_count
  where agent_id = p->>'agentId' and deleted_at is null returning * into v_queue;
  if not found then return jsonb_build_object('kind', 'not_found'); end if;
  with inserted as (
    insert into agent_commands (command_id, agent_id, action, payload, seq, expires_at, created_at, updated_at)
    select i.command->>'id', p->>'agentId', p->>'action', i.command->'payload', v_queue.next_seq - v_count + i.place - 1,
      now() + (p->>'expiresInMs')::bigint * interval '1 millisecond', now(), now()
    from jsonb_array_elements(p->'commands') with ordinality as i(command, place)
    returning *
  )
  select jsonb_agg(command_row(inserted::agent_commands) order by seq) into v_commands from inserted;
  if p->'idempotency' is not null then
    insert into idempotency_keys (principal, method, path, key, request_hash, status, answer)
    select i.principal, i.method, i.path, i.key, i.hash, 202, jsonb_build_object('command', v_commands->0)
    from jsonb_to_record(p->'idempotency') as i(principal text, method text, path text, key text, hash text);
  end if;
  return jsonb_build_object('kind', 'accepted', 'commands', v_commands, 'ownerBootId', v_queue.owner_boot_id);
end $$;
`;
