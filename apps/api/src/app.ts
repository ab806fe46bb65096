import { randomUUID } from 'node:crypto';
import { AgentHub } from '@streamspace/agent-hub';
import {
  CommandDispatcher,
  CommandQueue,
  GlobalSweep,
  InventoryReconciler,
} from '@streamspace/commands';
import { AgentSelector, SessionService, SessionStore, TemplateStore } from '@streamspace/sessions';
import type { Logger } from 'pino';
import { Authenticator } from './access/authenticator.ts';
import { TokenStore } from './access/token-store.ts';
import { agentRoutes } from './agents/agent-routes.ts';
import { commandRoutes } from './commands/command-routes.ts';
import { CommandStore } from './commands/command-store.ts';
import type { Config } from './config.ts';
import { docsRoutes } from './docs/docs-routes.ts';
import { createOpenApiDocument } from './docs/openapi.ts';
import { eventRoutes } from './events/event-routes.ts';
import { EventStream } from './events/event-stream.ts';
import { healthRoutes } from './health/health-routes.ts';
import { Readiness } from './health/readiness.ts';
import { createHttpApp } from './http/http-app.ts';
import { HttpServer } from './http/http-server.ts';
import { IdempotencyStore } from './http/idempotency.ts';
import type { Route } from './http/route.ts';
import { Metrics } from './metrics.ts';
import { ReplicaProcess } from './replica-process.ts';
import { sessionRoutes } from './sessions/session-routes.ts';
import { connectStores, type Stores } from './stores.ts';
import { templateRoutes } from './templates/template-routes.ts';

export interface AppOptions {
  readonly config: Config;
  readonly logger: Logger;
  readonly version: string;
}

/** The composition root: one replica, put together and not yet started. Nothing else knows all of its parts. */
export function createApp({ config, logger, version }: AppOptions): ReplicaProcess {
  const stores = connectStores(config, logger);
  const metrics = new Metrics();
  const readiness = new Readiness();
  const publicServer = new HttpServer();
  const internalServer = config.http.internalPort === undefined ? undefined : new HttpServer();
  const events = new EventStream({
    redis: stores.redis.commands,
    connectReader: stores.connectReader,
    prefix: config.redis.prefix,
    onLost: (count) => metrics.eventsLost(count),
    onSlowClient: () => metrics.slowClientDropped(),
    logger: logger.child({ component: 'events' }),
  });
  const core = createCore({ config, logger, version, stores, metrics, events, publicServer });
  const authenticator = new Authenticator({
    tokens: new TokenStore(stores.db),
    adminToken: config.adminToken,
  });
  const idempotency = new IdempotencyStore(stores.db);
  const operations = healthRoutes({
    readiness,
    metrics,
    version,
    replicaName: config.replica.name,
  });
  const resources = createRoutes({ stores, core, events, idempotency });
  // Made when it is first asked for: it describes the routes that show it, too.
  const documented = (): readonly Route[] => [...resources, ...docs, ...operations];
  const docs = docsRoutes(() => createOpenApiDocument(documented(), version));
  const shared = {
    authenticator,
    idempotency,
    isStarted: () => readiness.isStarted,
    metrics,
    logger,
    trustProxy: config.http.trustProxy,
  };
  const publicRoutes = internalServer ? [...resources, ...docs] : documented();
  publicServer.server.on(
    'request',
    createHttpApp({ ...shared, routes: publicRoutes, hasDocs: true }),
  );
  internalServer?.server.on(
    'request',
    createHttpApp({ ...shared, routes: operations, hasDocs: false }),
  );
  return new ReplicaProcess({
    config,
    logger,
    stores,
    readiness,
    events,
    authenticator,
    publicServer,
    internalServer,
    routes: documented(),
    ...core,
  });
}

interface CoreOptions extends AppOptions {
  readonly stores: Stores;
  readonly metrics: Metrics;
  readonly events: EventStream;
  readonly publicServer: HttpServer;
}

interface Core {
  readonly hub: AgentHub;
  readonly queue: CommandQueue;
  readonly dispatcher: CommandDispatcher;
  readonly globalSweep: GlobalSweep;
  readonly maxQueuedPerAgent: number;
}

/** Agents and their commands. */
function createCore(options: CoreOptions): Core {
  const { config, logger, version, stores, metrics, events, publicServer } = options;
  const { db } = stores;
  const hub = new AgentHub({
    db,
    redis: stores.redis,
    prefix: config.redis.prefix,
    httpServer: publicServer.server,
    replica: { bootId: randomUUID(), ...config.replica, version },
    helloRatePerSecond: config.agents.helloRatePerSecond,
    events,
    counters: metrics,
    logger: logger.child({ component: 'hub' }),
  });
  const queue = new CommandQueue({ db, doorbell: hub, events, notices: hub, ...config.queue });
  const dispatcher = new CommandDispatcher({
    db,
    replicaName: config.replica.name,
    window: config.agents.window,
    doorbell: hub,
    events,
    inventory: new InventoryReconciler({
      db,
      queue,
      events,
      logger: logger.child({ component: 'inventory' }),
    }),
    counters: metrics.dispatch,
    logger: logger.child({ component: 'dispatcher' }),
  });
  const globalSweep = new GlobalSweep({
    db,
    queue,
    doorbell: hub,
    events,
    agentLostAfterMs: config.agents.lostAfterMs,
    onKeysExpired: (keyIds) => hub.revokeKeys(keyIds),
    onRun: () => metrics.swept(),
    logger: logger.child({ component: 'sweep' }),
  });
  metrics.gauge(
    'streamspace_agent_connections',
    'Agents connected to this replica.',
    () => hub.connectionCount,
  );
  metrics.gauge(
    'streamspace_event_clients',
    'Open event streams of this replica.',
    () => events.clientCount,
  );
  const { maxQueuedPerAgent } = config.queue;
  return { hub, queue, dispatcher, globalSweep, maxQueuedPerAgent };
}

interface RoutesOptions {
  readonly stores: Stores;
  readonly core: Core;
  readonly events: EventStream;
  readonly idempotency: IdempotencyStore;
}

/** Everything under /api/v1, as one list: the router and the OpenAPI document are made from it. */
function createRoutes({ stores, core, events, idempotency }: RoutesOptions): readonly Route[] {
  const { db } = stores;
  const { hub, queue, maxQueuedPerAgent } = core;
  const sessions = new SessionStore(db);
  const commands = new CommandStore(db);
  const service = new SessionService({
    sessions,
    templates: new TemplateStore(db),
    selector: new AgentSelector({ db, maxQueuedPerAgent }),
    queue,
  });
  return [
    ...sessionRoutes({ service, sessions, commands, waiter: events.waiter }),
    ...commandRoutes({ commands, queue }),
    ...agentRoutes({ db, idempotency, events, gate: hub, queue, sessions, service }),
    ...templateRoutes({ db, idempotency }),
    ...eventRoutes({ events }),
  ];
}
