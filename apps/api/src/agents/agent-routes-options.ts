import type { CommandQueue, LiveEventPublisher } from '@streamspace/commands';
import type { SessionService, SessionStore } from '@streamspace/sessions';
import type { Knex } from 'knex';
import type { IdempotencyStore } from '../http/idempotency.ts';
import type { AgentGate } from './agent-gate.ts';

export interface AgentRoutesOptions {
  readonly db: Knex;
  readonly idempotency: IdempotencyStore;
  readonly events: LiveEventPublisher;
  readonly gate: AgentGate;
  readonly queue: CommandQueue;
  readonly sessions: SessionStore;
  readonly service: SessionService;
}
