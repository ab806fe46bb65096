import { queryRows, sessionRowSchema, toSession } from '@streamspace/database';
import type { Page, Session, SessionQuery } from '@streamspace/protocol';
import type { Knex } from 'knex';
import { decodeCursor, InvalidCursorError, toPage } from './cursor.ts';
import { scopedUserId, type Scope } from './scope.ts';

/** `created_at` as the database writes it: a JavaScript date would lose its microseconds, and the cursor with them. */
interface SessionRecord {
  readonly row: { readonly id: string; readonly created_at: string };
}

const toItem = ({ row }: SessionRecord): Session => toSession(sessionRowSchema.parse(row));

const TIME = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{1,6})?[+-]\d{2}:\d{2}$/;

export class SessionStore {
  readonly #db: Knex;

  constructor(db: Knex) {
    this.#db = db;
  }

  /** `undefined` also for what is another user's. */
  async find(id: string, scope: Scope): Promise<Session | undefined> {
    const [record] = await queryRows<SessionRecord>(
      this.#db,
      `select session_row(s) as row from sessions s
       where s.id = :id and (cast(:userId as text) is null or s.user_id = :userId)`,
      { id, userId: scopedUserId(scope) },
    );
    return record && toItem(record);
  }

  /** Newest first. */
  async list(query: SessionQuery, scope: Scope): Promise<Page<Session>> {
    const after = query.cursor === undefined ? undefined : parseSortKey(query.cursor);
    const records = await queryRows<SessionRecord>(
      this.#db,
      `select session_row(s) as row from sessions s
       where (cast(:scope as text) is null or s.user_id = :scope)
         and (cast(:userId as text) is null or s.user_id = :userId)
         and (cast(:state as text) is null or s.state = :state)
         and (cast(:agentId as text) is null or s.agent_id = :agentId)
         and (cast(:template as text) is null or s.template_name = :template)
         ${after ? 'and (s.created_at, s.id) < (cast(:createdAt as timestamptz), :id)' : ''}
       order by s.created_at desc, s.id desc limit :limit`,
      {
        scope: scopedUserId(scope),
        userId: query.userId ?? null,
        state: query.state ?? null,
        agentId: query.agentId ?? null,
        template: query.template ?? null,
        limit: query.limit + 1,
        ...after,
      },
    );
    return toPage(records, query.limit, {
      toItem,
      sortKey: ({ row }) => [row.created_at, row.id],
    });
  }

  /** Ids of what an agent still has, for a drain. */
  async listIdsOnAgent(agentId: string): Promise<readonly string[]> {
    const rows = await queryRows<{ id: string }>(
      this.#db,
      `select id from sessions where agent_id = :agentId and state <> 'terminated' order by created_at, id`,
      { agentId },
    );
    return rows.map(({ id }) => id);
  }
}

function parseSortKey(cursor: string): { createdAt: string; id: string } {
  const [createdAt = '', id = ''] = decodeCursor(cursor, 2);
  if (!TIME.test(createdAt) || Number.isNaN(Date.parse(createdAt)))
    throw new InvalidCursorError('The cursor is not one that this list has given.');
  return { createdAt, id };
}
