import { commandRowSchema, queryRows, toCommand } from '@streamspace/database';
import type { Command, CommandQuery, Page } from '@streamspace/protocol';
import { decodeCursor, scopedUserId, toPage, type Scope } from '@streamspace/sessions';
import type { Knex } from 'knex';

interface CommandRecord {
  readonly row: { readonly command_id: string };
}

const toItem = ({ row }: CommandRecord): Command => toCommand(commandRowSchema.parse(row));

/** A user sees the commands of their own sessions. */
const IS_VISIBLE = `(cast(:scope as text) is null or exists (
  select from sessions s where s.id = c.session_id and s.user_id = :scope))`;

export class CommandStore {
  readonly #db: Knex;

  constructor(db: Knex) {
    this.#db = db;
  }

  /** `undefined` also for what the scope does not show. */
  async find(id: string, scope: Scope): Promise<Command | undefined> {
    const [record] = await queryRows<CommandRecord>(
      this.#db,
      `select command_row(c) as row from agent_commands c where c.command_id = :id and ${IS_VISIBLE}`,
      { id, scope: scopedUserId(scope) },
    );
    return record && toItem(record);
  }

  async hasEnded(id: string): Promise<boolean> {
    const [row] = await queryRows<{ ended: boolean }>(
      this.#db,
      `select status not in ('pending', 'sent', 'acknowledged') as ended
       from agent_commands where command_id = :id`,
      { id },
    );
    return row?.ended ?? true;
  }

  /** Newest first: ids begin with the time they were made. */
  async list(query: CommandQuery, scope: Scope): Promise<Page<Command>> {
    const { cursor } = query;
    const records = await queryRows<CommandRecord>(
      this.#db,
      `select command_row(c) as row from agent_commands c
       where ${IS_VISIBLE}
         and (cast(:status as text) is null or c.status = :status)
         and (cast(:agentId as text) is null or c.agent_id = :agentId)
         and (cast(:sessionId as text) is null or c.session_id = :sessionId)
         and (cast(:action as text) is null or c.action = :action)
         and (cast(:before as text) is null or c.command_id < :before)
       order by c.command_id desc limit :limit`,
      {
        scope: scopedUserId(scope),
        status: query.status ?? null,
        agentId: query.agentId ?? null,
        sessionId: query.sessionId ?? null,
        action: query.action ?? null,
        before: cursor === undefined ? null : (decodeCursor(cursor, 1)[0] ?? null),
        limit: query.limit + 1,
      },
    );
    return toPage(records, query.limit, { toItem, sortKey: ({ row }) => [row.command_id] });
  }
}
