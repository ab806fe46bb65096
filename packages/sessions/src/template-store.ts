import { queryRows } from '@streamspace/database';
import {
  templateSpecSchema,
  type Page,
  type PageQuery,
  type Template,
  type TemplateSpec,
} from '@streamspace/protocol';
import type { Knex } from 'knex';
import { decodeCursor, toPage } from './cursor.ts';

interface TemplateRow {
  readonly name: string;
  readonly spec: unknown;
  readonly created_at: Date;
  readonly updated_at: Date;
}

function toTemplate({ name, spec, created_at, updated_at }: TemplateRow): Template {
  return {
    ...templateSpecSchema.parse(spec),
    name,
    createdAt: created_at.toISOString(),
    updatedAt: updated_at.toISOString(),
  };
}

/** Takes a pool or a transaction. A session carries what it was started with: changing or removing a template touches none. */
export class TemplateStore {
  readonly #db: Knex;

  constructor(db: Knex) {
    this.#db = db;
  }

  async find(name: string): Promise<Template | undefined> {
    const [row] = await queryRows<TemplateRow>(
      this.#db,
      'select * from templates where name = :name',
      { name },
    );
    return row && toTemplate(row);
  }

  async list({ limit, cursor }: PageQuery): Promise<Page<Template>> {
    const rows = await queryRows<TemplateRow>(
      this.#db,
      `select * from templates where cast(:after as text) is null or name > :after
       order by name limit :limit`,
      {
        after: cursor === undefined ? null : (decodeCursor(cursor, 1)[0] ?? null),
        limit: limit + 1,
      },
    );
    return toPage(rows, limit, { toItem: toTemplate, sortKey: ({ name }) => [name] });
  }

  /** `undefined` where there is one of that name. */
  async create(name: string, spec: TemplateSpec): Promise<Template | undefined> {
    const [row] = await queryRows<TemplateRow>(
      this.#db,
      `insert into templates (name, spec) values (:name, cast(:spec as jsonb))
       on conflict (name) do nothing returning *`,
      { name, spec: JSON.stringify(spec) },
    );
    return row && toTemplate(row);
  }

  async put(
    name: string,
    spec: TemplateSpec,
  ): Promise<{ readonly template: Template; readonly isNew: boolean }> {
    const [row] = await queryRows<TemplateRow & { is_new: boolean }>(
      this.#db,
      // xmax is 0 in a row that no update has made.
      `insert into templates (name, spec) values (:name, cast(:spec as jsonb))
       on conflict (name) do update set spec = excluded.spec, updated_at = now()
       returning *, xmax = 0 as is_new`,
      { name, spec: JSON.stringify(spec) },
    );
    if (!row) throw new Error('an upsert returned no row');
    return { template: toTemplate(row), isNew: row.is_new };
  }

  /** False where there was none. */
  async delete(name: string): Promise<boolean> {
    const rows = await queryRows(
      this.#db,
      'delete from templates where name = :name returning name',
      {
        name,
      },
    );
    return rows.length > 0;
  }
}
