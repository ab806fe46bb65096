export { connectDatabase, connectForMigration, type DatabaseOptions } from './connect.ts';
export { findMissingMigrations, migrateToLatest, type MigrateOptions } from './migrate.ts';
export { migrationNames } from './migrations.ts';
export { callFunction, queryRows } from './query.ts';
export {
  agentRowSchema,
  commandRowSchema,
  commandSummaryRowSchema,
  finishedSchema,
  sessionRowSchema,
  type AgentRow,
  type CommandRow,
  type CommandSummaryRow,
  type Finished,
  type SessionRow,
} from './rows.ts';
export { toAgent, toCommand, toCommandEvent, toSession, toSessionEvent } from './resources.ts';
export { isDataException, isUnavailable, SqlState, sqlStateOf } from './sql-state.ts';
