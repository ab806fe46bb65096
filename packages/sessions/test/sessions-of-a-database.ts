import { randomUUID } from 'node:crypto';
import { CommandQueue } from '@streamspace/commands';
import { connectDatabase } from '@streamspace/database';
import type { CreateSession, SessionAndCommand } from '@streamspace/protocol';
import type { TestDatabase } from '@streamspace/testkit';
import type { Knex } from 'knex';
import { AgentSelector, SessionService, SessionStore, TemplateStore } from '../src/index.ts';

export const USER = 'somebody';

/** The service as one replica has it, on a pool of its own. */
export interface TestService extends AsyncDisposable {
  readonly service: SessionService;
  create(request?: Partial<CreateSession>): Promise<SessionAndCommand>;
}

export function createTestService(database: TestDatabase, maxQueuedPerAgent = 1000): TestService {
  const db = connectDatabase({ url: database.url, applicationName: 'test', poolSize: 15 });
  const nowhere = { ring: () => undefined, publish: () => undefined, cancel: () => undefined };
  const queue = new CommandQueue({
    db,
    doorbell: nowhere,
    events: nowhere,
    notices: nowhere,
    maxQueuedPerAgent,
    expiresInMs: 86_400_000,
  });
  const service = new SessionService({
    sessions: new SessionStore(db),
    templates: new TemplateStore(db),
    selector: new AgentSelector({ db, maxQueuedPerAgent }),
    queue,
  });
  return {
    service,
    create: (request = {}) =>
      service.create({ userId: USER, request: { template: 'hello-web', ...request } }),
    [Symbol.asyncDispose]: () => db.destroy(),
  };
}

export interface AgentOptions {
  readonly state?: 'online' | 'lost' | 'offline' | 'owner is gone';
  readonly platform?: string;
  readonly region?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly approval?: string | null;
  readonly queue?: Readonly<Record<string, unknown>>;
}

/** Rows as if a replica elsewhere held its connection. */
export async function addAgent(db: Knex, options: AgentOptions = {}): Promise<string> {
  const { state = 'online', platform = 'process', region = null, labels = {} } = options;
  const agentId = `agent-${randomUUID()}`;
  await db('agents').insert({
    agent_id: agentId,
    platform,
    region,
    labels: JSON.stringify(labels),
    approval_status: options.approval === undefined ? 'approved' : options.approval,
  });
  const isOwned = state === 'online' || state === 'owner is gone';
  if (isOwned)
    await db('replicas').insert({
      boot_id: agentId,
      name: 'elsewhere',
      version: 'test',
      beat_at: db.raw(`now() + interval '${state === 'online' ? '1 hour' : '-20 seconds'}'`),
    });
  await db('agent_queues').insert({
    agent_id: agentId,
    owner_boot_id: isOwned ? agentId : null,
    disconnected_at: state === 'lost' ? db.fn.now() : null,
    ...options.queue,
  });
  return agentId;
}

/** So that the next test begins without agents. */
export async function removeAgents(db: Knex): Promise<void> {
  for (const table of [
    'agent_commands',
    'sessions',
    'agent_keys',
    'agent_queues',
    'agents',
    'replicas',
  ])
    await db(table).delete();
}
