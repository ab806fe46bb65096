import type { Knex } from 'knex';
import { cancelCommandSql } from './009-queue-functions/cancel-command.ts';
import { changeSessionSql } from './009-queue-functions/change-session.ts';
import { deleteAgentSql } from './009-queue-functions/delete-agent.ts';
import { enqueueAgentCommandsSql } from './009-queue-functions/enqueue-agent-commands.ts';
import { failSessionsSql } from './009-queue-functions/fail-sessions.ts';
import { finishCommandsSql } from './009-queue-functions/finish-commands.ts';
import { mintEpochSql } from './009-queue-functions/mint-epoch.ts';
import { recountRoomSql } from './009-queue-functions/recount-room.ts';
import { rowsAsJsonSql } from './009-queue-functions/rows-as-json.ts';
import { settleResumedSql } from './009-queue-functions/settle-resumed.ts';
import { startSessionSql } from './009-queue-functions/start-session.ts';

/**
 * What locks an agent's queue row does so in one round trip: a process that is frozen between two
 * statements would hold every enqueue and every mint of that agent for as long. Hence functions: each
 * statement inside has a snapshot of its own (a single statement would count and read what was true
 * before it waited), and the transaction ends with the call.
 *
 * One lock order everywhere: agent_queues by agent_id, sessions by id, agent_commands by (agent_id, seq).
 *
 * A changed function gets a new name (`_v2`) in a new migration: the version before still calls this one.
 */
export async function up(knex: Knex): Promise<void> {
  await knex.raw(rowsAsJsonSql);
  await knex.raw(finishCommandsSql);
  await knex.raw(failSessionsSql);
  await knex.raw(startSessionSql);
  await knex.raw(changeSessionSql);
  await knex.raw(enqueueAgentCommandsSql);
  await knex.raw(cancelCommandSql);
  await knex.raw(mintEpochSql);
  await knex.raw(settleResumedSql);
  await knex.raw(deleteAgentSql);
  await knex.raw(recountRoomSql);
}
