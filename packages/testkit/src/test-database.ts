import { randomBytes } from 'node:crypto';
import { connectDatabase } from '@streamspace/database';
import type { Knex } from 'knex';
import { dropDatabase, runAdminQuery, urlOfDatabase } from './admin-database.ts';
import { testEnvironment } from './test-environment.ts';

export interface TestDatabaseOptions {
  /** Without any table; otherwise it has the schema of the latest migration. */
  readonly isEmpty?: boolean;
  readonly poolSize?: number;
}

export interface TestDatabase extends AsyncDisposable {
  readonly name: string;
  readonly url: string;
  /** Connected as the replicas are, with the same limits on statements and locks. */
  readonly knex: Knex;
  /** Cuts every connection to it and removes it. */
  drop(): Promise<void>;
}

/** A database of its own for one test file: a clone of the run's migrated template, about 50 ms. */
export async function createTestDatabase(options: TestDatabaseOptions = {}): Promise<TestDatabase> {
  const { postgresUrl, templateDatabase, runId } = testEnvironment();
  const name = `${runId}_${randomBytes(6).toString('hex')}`;
  const template = options.isEmpty === true ? 'template0' : templateDatabase;
  await runAdminQuery(postgresUrl, `create database "${name}" template "${template}"`);
  const url = urlOfDatabase(postgresUrl, name);
  const knex = connectDatabase({
    url,
    applicationName: 'test',
    ...(options.poolSize === undefined ? {} : { poolSize: options.poolSize }),
  });
  let dropped: Promise<void> | undefined;
  const drop = (): Promise<void> => {
    dropped ??= knex.destroy().then(() => dropDatabase(postgresUrl, name));
    return dropped;
  };
  return { name, url, knex, drop, [Symbol.asyncDispose]: drop };
}
