import type { Knex } from 'knex';
import { up as upstreamTables } from './migrations/001-upstream-tables.ts';
import { up as agentCommandsUpdatedAt } from './migrations/002-agent-commands-updated-at.ts';
import { up as timestampsWithTimeZone } from './migrations/003-timestamps-with-time-zone.ts';
import { up as installationAndReplicas } from './migrations/004-installation-and-replicas.ts';
import { up as agentQueues } from './migrations/005-agent-queues.ts';
import { up as sessions } from './migrations/006-sessions.ts';
import { up as commandQueue } from './migrations/007-command-queue.ts';
import { up as access } from './migrations/008-access.ts';
import { up as queueFunctions } from './migrations/009-queue-functions.ts';
import { up as builtinTemplates } from './migrations/010-builtin-templates.ts';

/**
 * In order. A migration that has been released is never changed, and goes forward only: the version
 * before keeps running on the schema after, so going back means running the version before.
 */
const list: readonly (readonly [name: string, up: (knex: Knex) => Promise<void>])[] = [
  ['001_upstream_tables', upstreamTables],
  ['002_agent_commands_updated_at', agentCommandsUpdatedAt],
  ['003_timestamps_with_time_zone', timestampsWithTimeZone],
  ['004_installation_and_replicas', installationAndReplicas],
  ['005_agent_queues', agentQueues],
  ['006_sessions', sessions],
  ['007_command_queue', commandQueue],
  ['008_access', access],
  ['009_queue_functions', queueFunctions],
  ['010_builtin_templates', builtinTemplates],
];

export const migrationNames: readonly string[] = list.map(([name]) => name);

/** Names carry no file extension, so that a database migrated from `src` and one from `dist` agree. */
export class StaticMigrationSource implements Knex.MigrationSource<string> {
  async getMigrations(): Promise<string[]> {
    return [...migrationNames];
  }

  getMigrationName(name: string): string {
    return name;
  }

  async getMigration(name: string): Promise<Knex.Migration> {
    const up = list.find(([known]) => known === name)?.[1];
    if (!up) throw new Error(`unknown migration '${name}'`);
    return {
      async up(knex) {
        // A migration may take as long as its rows need; the connection's limits are for requests.
        await knex.raw(
          'set local statement_timeout = 0; set local idle_in_transaction_session_timeout = 0',
        );
        await up(knex);
      },
      async down() {
        throw new Error(
          'migrations go forward only; run the version before on this schema instead',
        );
      },
    };
  }
}
