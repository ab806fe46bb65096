import { Client } from 'pg';

/** One statement on the server's own database; names are quoted by the caller. */
export async function runAdminQuery(adminUrl: string, sql: string): Promise<string[]> {
  const client = new Client({ connectionString: adminUrl, connectionTimeoutMillis: 10_000 });
  client.on('error', () => undefined);
  await client.connect();
  try {
    const { rows } = await client.query<{ name: string }>(sql);
    return rows.map(({ name }) => name);
  } finally {
    await client.end();
  }
}

export function urlOfDatabase(adminUrl: string, name: string): string {
  const url = new URL(adminUrl);
  url.pathname = `/${name}`;
  return url.href;
}

export async function dropDatabase(adminUrl: string, name: string): Promise<void> {
  await runAdminQuery(adminUrl, `alter database "${name}" is_template false`);
  await runAdminQuery(adminUrl, `drop database "${name}" with (force)`);
}

/** Every database of a run, the template too, whether its test could clean up or not. */
export async function dropDatabasesOfRun(adminUrl: string, runId: string): Promise<string[]> {
  const names = await runAdminQuery(
    adminUrl,
    `select datname as name from pg_database where starts_with(datname, '${runId}_')`,
  );
  for (const name of names) await dropDatabase(adminUrl, name);
  return names;
}
