import {
  commandSummaryRowSchema,
  queryRows,
  sessionRowSchema,
  toCommandEvent,
  toSessionEvent,
} from '@streamspace/database';
import type { LiveEventPublisher } from '@streamspace/commands';
import type { Knex } from 'knex';
import { z } from 'zod';
import type { AgentGate } from './agent-gate.ts';

const answerSchema = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('not_found') }),
  z.object({ kind: z.literal('has_sessions'), count: z.int() }),
  z.object({
    kind: z.literal('deleted'),
    commands: z.array(commandSummaryRowSchema),
    sessions: z.array(sessionRowSchema),
  }),
]);

export type AgentDeletion = z.infer<typeof answerSchema>;

export interface AgentDeletionOptions {
  readonly db: Knex;
  readonly events: LiveEventPublisher;
  readonly gate: AgentGate;
}

/** By force its sessions fail and what was open ends; its connection is cut, wherever it is. */
export async function deleteAgent(
  { db, events, gate }: AgentDeletionOptions,
  agentId: string,
  isForced: boolean,
): Promise<AgentDeletion> {
  const [row] = await queryRows<{ answer: unknown }>(
    db,
    'select delete_agent(:agentId, :isForced) as answer',
    { agentId, isForced },
  );
  const answer = answerSchema.parse(row?.answer);
  if (answer.kind === 'deleted') {
    gate.cutDeletedAgent(agentId);
    events.publish([
      ...answer.commands.map(toCommandEvent),
      ...answer.sessions.map(toSessionEvent),
    ]);
  }
  return answer;
}
