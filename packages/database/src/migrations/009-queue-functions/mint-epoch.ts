/**
 * A new connection takes over: the epoch goes up by one and past what the agent has seen.
 * \`for update\` waits for claims in flight, which hold \`for key share\`; a plain update would not.
 * No command is reset here: the hub asks the agent (resume) before it claims anything.
 *
 * Three take-overs of living connections between two instances within 60 s are two hosts with one
 * identity. The one that had sessions stays, else the first; the other is refused for 5 min, doubling.
 * p: {agentId, bootId, connectionId, keyId, highestEpoch, instanceId, journalId}
 * kind: minted | refused | not_found.
 */
export const mintEpochSql = `
create function mint_epoch(p jsonb) returns jsonb language plpgsql as $$
declare
  v_queue agent_queues;
  v_kept text;
  v_refused text;
begin
  select * into v_queue from agent_queues where agent_id = p->>'agentId' and deleted_at is null for update;
  if not found then return jsonb_build_object('kind', 'not_found'); end if;

  if v_queue.owner_boot_id is not null and v_queue.instance_id <> p->>'instanceId' then
    if v_queue.takeovers_since > now() - interval '60 seconds' then
      v_queue.takeovers := v_queue.takeovers + 1;
    else
      v_queue.takeovers := 1;
      v_queue.takeovers_since := now();
      v_queue.takeovers_first_instance_id := v_queue.instance_id;
      if v_queue.refused_until < now() - interval '1 day' then v_queue.refusals := 0; end if;
    end if;
    if v_queue.takeovers >= 3 and not coalesce(v_queue.refused_until > now(), false) then
      v_kept := case when v_queue.inventory_instance_id in (p->>'instanceId', v_queue.instance_id)
        then v_queue.inventory_instance_id else v_queue.takeovers_first_instance_id end;
      v_refused := case when v_kept = p->>'instanceId' then v_queue.instance_id else p->>'instanceId' end;
      v_queue.refusals := v_queue.refusals + 1;
      update agent_queues set refused_instance_id = v_refused, refusals = v_queue.refusals, takeovers = 0,
        refused_until = now() + interval '5 minutes' * power(2, least(v_queue.refusals, 8) - 1)
      where agent_id = v_queue.agent_id returning * into v_queue;
      update agents set notice_code = 'duplicate_identity', notice_message = format(
        'Two hosts connect with this agent''s identity and keep taking over from each other. Instance %s is kept, %s is refused until %s. Give each host an agent of its own.',
        v_kept, v_refused, to_char(v_queue.refused_until at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS "UTC"')), updated_at = now()
      where agent_id = v_queue.agent_id;
    end if;
  end if;
  if v_queue.refused_instance_id = p->>'instanceId' and v_queue.refused_until > now() then
    return jsonb_build_object('kind', 'refused', 'retryAfterMs',
      ceil(extract(epoch from v_queue.refused_until - now()) * 1000));
  end if;

  update agent_queues set
    connection_epoch = greatest(connection_epoch, (p->>'highestEpoch')::bigint) + 1,
    owner_boot_id = p->>'bootId', connection_id = p->>'connectionId', key_id = p->>'keyId',
    connected_at = now(), disconnected_at = null, offline_at = null,
    instance_id = p->>'instanceId', journal_id = p->>'journalId',
    takeovers = v_queue.takeovers, takeovers_since = v_queue.takeovers_since,
    takeovers_first_instance_id = v_queue.takeovers_first_instance_id
  where agent_id = p->>'agentId';
  if v_queue.refused_until < now() then
    update agents set notice_code = null, notice_message = null, updated_at = now()
    where agent_id = p->>'agentId' and notice_code = 'duplicate_identity';
  end if;
  return jsonb_build_object('kind', 'minted',
    'epoch', (select connection_epoch from agent_queues where agent_id = p->>'agentId'),
    'previousOwnerBootId', v_queue.owner_boot_id,
    'journalChanged', v_queue.journal_id is not null and v_queue.journal_id <> p->>'journalId');
end $$;
`;
