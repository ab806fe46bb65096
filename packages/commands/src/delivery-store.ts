import { callFunction, queryRows } from '@streamspace/database';
import { wireCommandSchema, type WireCommand } from '@streamspace/protocol';
import type { Knex } from 'knex';
import { z } from 'zod';

/** An agent as its owner claims for it. */
export interface OwnedQueue {
  readonly agentId: string;
  readonly epoch: number;
}

export interface ClaimedCommand {
  readonly agentId: string;
  readonly epoch: number;
  readonly seq: bigint;
  /** Whose session it is, for live events. */
  readonly userId: string | null;
  readonly command: WireCommand;
}

interface ClaimedRow {
  agent_id: string;
  sent_epoch: string;
  seq: string;
  user_id: string | null;
  command_id: string;
  attempt: number;
  session_id: string | null;
  generation: string | null;
  action: string;
  payload: Record<string, unknown> | null;
}

/** A payload that is no object is for the agent to refuse, not for the batch that it is in. */
const COMMAND_COLUMNS = `c.agent_id, c.sent_epoch, c.seq, c.command_id, c.attempt, c.session_id, c.generation,
  c.action, case when jsonb_typeof(c.payload) = 'object' then c.payload end as payload`;

/** Past its expiry only what was never sent is held back: the rest is the agent's to end. */
const DUE = `c.status = 'pending' and c.cancel_requested_at is null
  and (c.attempt > 0 or c.expires_at is null or c.expires_at > now())`;

/**
 * One autocommitted statement. The queue rows are locked \`for key share\` first: a mint, which takes
 * them \`for update\`, waits for claims in flight and claims that come later see its epoch. Enqueuing
 * does not wait for either. The window counts what is sent and not acknowledged, which lies before the
 * first command that is due. A cancellation may commit while the update waits for it, hence it asks again.
 * Rows are locked in order of (agent, seq) as everywhere, as long as joins are nested loops: see the
 * planning of a replica's connections.
 */
export const CLAIM = `
with owned as (
  select q.agent_id, q.connection_epoch, q.head_seq, o.room
  from unnest(:agents::text[], :epochs::bigint[], :windows::integer[]) as o(agent_id, epoch, room)
  join agent_queues q on q.agent_id = o.agent_id and q.connection_epoch = o.epoch
  order by q.agent_id
  for key share of q
), due as (
  select d.command_id, q.connection_epoch as epoch, s.user_id
  from owned q
  cross join lateral (
    select c.seq from agent_commands c
    where c.agent_id = q.agent_id and c.completed_at is null and c.seq > q.head_seq and ${DUE}
    order by c.seq limit 1
  ) first
  cross join lateral (
    select count(*) as sent from agent_commands c
    where c.agent_id = q.agent_id and c.completed_at is null and c.seq > q.head_seq and c.seq < first.seq
      and c.status = 'sent' and c.sent_epoch = q.connection_epoch
  ) flight
  cross join lateral (
    select c.command_id, c.session_id from agent_commands c
    where c.agent_id = q.agent_id and c.completed_at is null and c.seq >= first.seq and ${DUE}
    order by c.seq limit greatest(q.room - flight.sent, 0)
  ) d
  left join sessions s on s.id = d.session_id
)
update agent_commands c set status = 'sent', attempt = c.attempt + 1, sent_epoch = due.epoch, sent_by = :replica,
  sent_at = now(), updated_at = now()
from due
where c.command_id = due.command_id and c.status = 'pending' and c.cancel_requested_at is null
returning ${COMMAND_COLUMNS}, due.user_id`;

/** Losing an ack in a crash of Postgres is a redelivery, hence asynchronous: nothing else depends on it. */
const ACKNOWLEDGE = `
with durability as (
  select set_config('synchronous_commit', 'off', true)
), entry as (
  select e.* from durability, unnest(:ids::text[], :epochs::bigint[], :attempts::integer[])
    as e(command_id, epoch, attempt)
), locked as (
  select c.command_id from agent_commands c join entry e using (command_id)
  where c.status = 'sent' and c.sent_epoch = e.epoch and c.attempt = e.attempt
  order by c.agent_id, c.seq for no key update of c
)
update agent_commands c set status = 'acknowledged', acknowledged_at = now(), updated_at = now()
from locked where c.command_id = locked.command_id
returning c.command_id, c.updated_at`;

/**
 * What is with the agent or may be: claimed and not ended. Claims go in order of seq, so all of it
 * lies before the first command that was never claimed.
 */
const WITH_THE_AGENT = `
  c.agent_id = q.agent_id and c.completed_at is null and c.seq > q.head_seq and c.attempt > 0
  and c.seq < coalesce((
    select n.seq from agent_commands n
    where n.agent_id = q.agent_id and n.completed_at is null and n.seq > q.head_seq and n.attempt = 0
    order by n.seq limit 1), 9223372036854775807)`;

const SEND_AGAIN_AFTER = `interval '5 seconds'`;

const settledSchema = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('settled'), endings: z.array(z.record(z.string(), z.unknown())) }),
  z.object({ kind: z.literal('fenced') }),
]);

export interface UnresolvedCommand {
  readonly commandId: string;
  readonly attempt: number;
  readonly wasAcknowledged: boolean;
}

export interface OverdueCommand extends ClaimedCommand {
  readonly isCancelRequested: boolean;
  readonly status: 'pending' | 'sent' | 'acknowledged';
}

/** The owner's side of the queue: claim, acknowledge, resume; all under its epochs. */
export class DeliveryStore {
  readonly #db: Knex;
  readonly #replicaName: string;

  constructor(db: Knex, replicaName: string) {
    this.#db = db;
    this.#replicaName = replicaName;
  }

  /** In order of seq within each agent: RETURNING has no order of its own. */
  async claim(
    queues: readonly (OwnedQueue & { readonly window: number })[],
  ): Promise<readonly ClaimedCommand[]> {
    const rows = await queryRows<ClaimedRow>(
      this.#db,
      CLAIM,
      {
        agents: queues.map((queue) => queue.agentId),
        epochs: queues.map((queue) => queue.epoch),
        windows: queues.map((queue) => queue.window),
        replica: this.#replicaName,
      },
      'claim',
    );
    return rows.map(toClaimed).toSorted((a, b) => (a.seq < b.seq ? -1 : 1));
  }

  /** Answers those whose row it changed: sent under that epoch in that attempt, and nothing since. */
  async acknowledge(
    acks: readonly { commandId: string; epoch: number; attempt: number }[],
  ): Promise<ReadonlyMap<string, Date>> {
    const rows = await queryRows<{ command_id: string; updated_at: Date }>(
      this.#db,
      ACKNOWLEDGE,
      {
        ids: acks.map((ack) => ack.commandId),
        epochs: acks.map((ack) => ack.epoch),
        attempts: acks.map((ack) => ack.attempt),
      },
      'acknowledge',
    );
    return new Map(rows.map((row) => [row.command_id, row.updated_at]));
  }

  /** What was sent or acknowledged under an older epoch: the agent is asked about each. */
  async listUnresolved({ agentId, epoch }: OwnedQueue): Promise<readonly UnresolvedCommand[]> {
    const rows = await queryRows<{ command_id: string; attempt: number; status: string }>(
      this.#db,
      `select c.command_id, c.attempt, c.status
       from agent_queues q join agent_commands c on ${WITH_THE_AGENT}
       where q.agent_id = :agentId and c.status in ('sent', 'acknowledged')
         and c.sent_epoch < :epoch
       order by c.seq`,
      { agentId, epoch },
    );
    return rows.map((row) => ({
      commandId: row.command_id,
      attempt: row.attempt,
      wasAcknowledged: row.status === 'acknowledged',
    }));
  }

  /** `endings` are for `finish_commands`; see `settle_resumed`. */
  async settleResumed(settlement: {
    readonly agentId: string;
    readonly epoch: number;
    readonly held: readonly string[];
    readonly unknown: readonly string[];
    /** 1 where one command alone was in flight unacknowledged when the connection broke. */
    readonly alone: 0 | 1;
    readonly journalChanged: boolean;
  }): Promise<z.infer<typeof settledSchema>> {
    return settledSchema.parse(await callFunction(this.#db, 'settle_resumed', settlement));
  }

  /**
   * Of living connections: what was sent more than 5 s ago and is not acknowledged, and what is to be
   * cancelled and has not ended. Payloads included, so that it can be sent again as it was.
   */
  async listOverdue(queues: readonly OwnedQueue[]): Promise<readonly OverdueCommand[]> {
    const rows = await queryRows<
      ClaimedRow & { status: OverdueCommand['status']; cancel_requested_at: Date | null }
    >(
      this.#db,
      `select ${COMMAND_COLUMNS}, null as user_id, c.status, c.cancel_requested_at
       from unnest(:agents::text[], :epochs::bigint[]) as o(agent_id, epoch)
       join agent_queues q on q.agent_id = o.agent_id and q.connection_epoch = o.epoch
       cross join lateral (
         select * from agent_commands c
         where ${WITH_THE_AGENT}
           and (c.cancel_requested_at is not null
             or c.status = 'sent' and c.sent_epoch = q.connection_epoch and c.updated_at < now() - ${SEND_AGAIN_AFTER})
         order by c.seq limit 100
       ) c`,
      {
        agents: queues.map((queue) => queue.agentId),
        epochs: queues.map((queue) => queue.epoch),
      },
      'list_overdue',
    );
    return rows
      .map((row) => ({
        ...toClaimed(row),
        status: row.status,
        isCancelRequested: row.cancel_requested_at !== null,
      }))
      .toSorted((a, b) => (a.seq < b.seq ? -1 : 1));
  }

  /**
   * Moves `head_seq`: all up to it have ended. It may lag, it must never lead, so it goes no further
   * than what this owner has claimed: sequence numbers commit in order, so nothing below is yet to come.
   */
  async advanceHeads(
    queues: readonly { readonly agentId: string; readonly claimedSeq: bigint }[],
  ): Promise<void> {
    await queryRows(
      this.#db,
      `with head as (
         select o.agent_id, least(o.claimed, coalesce((
           select c.seq - 1 from agent_commands c
           where c.agent_id = o.agent_id and c.completed_at is null and c.seq > q.head_seq
           order by c.seq limit 1), o.claimed)) as seq
         from unnest(:agents::text[], :claimed::bigint[]) as o(agent_id, claimed)
         join agent_queues q on q.agent_id = o.agent_id
       ), behind as (
         select q.agent_id, head.seq from agent_queues q join head using (agent_id)
         where head.seq >= q.head_seq + :step
         order by q.agent_id for no key update of q skip locked
       )
       update agent_queues q set head_seq = greatest(q.head_seq, behind.seq)
       from behind where behind.agent_id = q.agent_id`,
      {
        agents: queues.map((queue) => queue.agentId),
        claimed: queues.map((queue) => queue.claimedSeq.toString()),
        step: HEAD_STEP,
      },
      'advance_heads',
    );
  }
}

/** A head that moved with every command would be one more write a command. */
const HEAD_STEP = 50;

function toClaimed(row: ClaimedRow): ClaimedCommand {
  return {
    agentId: row.agent_id,
    epoch: Number(row.sent_epoch),
    seq: BigInt(row.seq),
    userId: row.user_id,
    command: wireCommandSchema.parse({
      commandId: row.command_id,
      attempt: row.attempt,
      sessionId: row.session_id,
      generation: row.generation === null ? null : Number(row.generation),
      action: row.action,
      payload: row.payload ?? {},
    }),
  };
}
