/** Where what is reserved is not what its sessions hold: counted anew under the queue row's lock. Returns those agents. */
export const recountRoomSql = `
create function recount_room() returns setof text language plpgsql as $$
declare
  v_agent text;
  v_held record;
begin
  for v_agent in
    select q.agent_id from agent_queues q
    left join (select agent_id, count(*) as sessions, sum(room_cpu_millis) as cpu, sum(room_memory_bytes) as memory
      from sessions where holds_room group by agent_id) s on s.agent_id = q.agent_id
    where (q.reserved_sessions, q.reserved_cpu_millis, q.reserved_memory_bytes)
      is distinct from (coalesce(s.sessions, 0)::integer, coalesce(s.cpu, 0)::bigint, coalesce(s.memory, 0)::bigint)
    order by q.agent_id limit 100
  loop
    perform from agent_queues where agent_id = v_agent for no key update;
    select count(*) as sessions, coalesce(sum(room_cpu_millis), 0) as cpu, coalesce(sum(room_memory_bytes), 0) as memory
    into v_held from sessions where agent_id = v_agent and holds_room;
    update agent_queues set reserved_sessions = v_held.sessions, reserved_cpu_millis = v_held.cpu,
      reserved_memory_bytes = v_held.memory
    where agent_id = v_agent and (reserved_sessions, reserved_cpu_millis, reserved_memory_bytes)
      is distinct from (v_held.sessions::integer, v_held.cpu::bigint, v_held.memory::bigint);
    if found then return next v_agent; end if;
  end loop;
end $$;
`;
