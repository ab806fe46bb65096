import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  apiReplica,
  createAdminToken,
  ensureAgentKey,
  freePort,
  identifyProcess,
  isRunning,
  type LoadBalancer,
  nodeProgram,
  type ProcessIdentity,
  type ProcessRegistry,
  processAgent,
  type RedisServer,
  repositoryRoot,
  startLoadBalancer,
  startRedis,
} from '@streamspace/local-stack';
import { type FaultProxy, startFaultProxy } from '../fault-proxy.ts';
import { createTestDatabase, type TestDatabase } from '../test-database.ts';
import { testEnvironment } from '../test-environment.ts';
import { testProcessRegistry } from '../test-redis.ts';
import { AgentHost } from './agent-host.ts';
import { ClusterAgent } from './cluster-agent.ts';
import { ClusterClient } from './cluster-client.ts';
import { ClusterReplica, type ReplicaNetwork } from './cluster-replica.ts';

export interface TestClusterOptions {
  readonly replicas?: number;
  /** Ledger agents, each a process: agent-1, agent-2 ... */
  readonly agents?: number;
  /** Without one, agents and `api()` use the first replica. */
  readonly loadBalancer?: boolean;
  /** `proxied` puts a `FaultProxy` before every agent, and between each replica and Redis and Postgres. */
  readonly network?: 'direct' | 'proxied';
  /** One with rows in it, already migrated; it goes with the cluster. */
  readonly database?: TestDatabase;
  /** Added to every replica's environment. */
  readonly env?: NodeJS.ProcessEnv;
  /** Added to every agent's environment: `MAX_SESSIONS`, `LEDGER_START_DELAY_MS`, `AGENT_PLATFORM`, `AGENT_REGION`. */
  readonly agentEnv?: NodeJS.ProcessEnv;
}

const HOST = '127.0.0.1';
const AGENT_ENTRY = `${repositoryRoot}/packages/testkit/dist/ledger/ledger-agent-main.js`;
const HOST_ENTRY = `${repositoryRoot}/packages/testkit/dist/ledger/ledger-host-main.js`;
const HOST_READY_TIMEOUT_MS = 60_000;
/** Requests at once while agents are registered. */
const REGISTER_AT_ONCE = 16;
const REDIS_PORT = 6379;
const POSTGRES_PORT = 5432;

/** Real replica processes with a database and a Redis of their own, behind a load balancer. */
export class TestCluster implements AsyncDisposable {
  readonly adminToken = createAdminToken();
  readonly database: TestDatabase;
  readonly redis: RedisServer;
  replicas: readonly ClusterReplica[] = [];
  agents: readonly ClusterAgent[] = [];
  hosts: readonly AgentHost[] = [];
  loadBalancer: LoadBalancer | undefined;
  readonly #options: TestClusterOptions;
  readonly #directory = mkdtempSync(join(testEnvironment().runDir, 'cluster-'));
  readonly #registry: ProcessRegistry;
  readonly #proxies: FaultProxy[] = [];
  readonly #processes: ProcessIdentity[] = [];

  constructor(options: TestClusterOptions, database: TestDatabase, redis: RedisServer) {
    this.#options = options;
    this.database = database;
    this.redis = redis;
    this.#registry = testProcessRegistry();
    chmodSync(this.#directory, 0o755);
  }

  get #isProxied(): boolean {
    return this.#options.network === 'proxied';
  }

  /** The load balancer's address. */
  get url(): string {
    const url = this.loadBalancer?.url ?? this.replicas[0]?.url;
    if (url === undefined) throw new Error('the cluster has no replica yet');
    return url;
  }

  /** Through the load balancer, as the admin when no token is given. */
  api(token = this.adminToken): ClusterClient {
    return new ClusterClient(this.url, token);
  }

  replica(name: string): ClusterReplica {
    const found = this.replicas.find((replica) => replica.name === name);
    if (!found) throw new Error(`there is no replica ${name}`);
    return found;
  }

  agent(agentId: string): ClusterAgent {
    const found = this.agents.find((agent) => agent.agentId === agentId);
    if (!found) throw new Error(`there is no agent ${agentId}`);
    return found;
  }

  /** The replica that holds the agent's connection, as the control plane sees it. */
  async replicaOfAgent(agentId: string): Promise<ClusterReplica> {
    const { replica } = await this.api().agent(agentId);
    if (replica === null) throw new Error(`agent ${agentId} is connected to no replica`);
    return this.replica(replica);
  }

  /** A replica that the agent is not connected to. */
  async replicaWithoutAgent(agentId: string): Promise<ClusterReplica> {
    const owner = await this.replicaOfAgent(agentId);
    const other = this.replicas.find(({ name, pid }) => name !== owner.name && pid !== undefined);
    if (!other) throw new Error(`every replica that runs has agent ${agentId}`);
    return other;
  }

  async start(): Promise<void> {
    await this.#startReplicas();
    if (this.#options.loadBalancer !== false)
      this.loadBalancer = await startLoadBalancer({
        backends: this.replicas.map(({ port }) => ({ host: HOST, port })),
        directory: this.#directory,
        registry: this.#registry,
        logFile: join(this.#directory, 'load-balancer.log'),
      });
    this.#remember(this.loadBalancer?.pid);
    await this.addAgents(this.#options.agents ?? 0);
  }

  /** Starts more agents and waits until they are online. */
  async addAgents(count: number): Promise<readonly ClusterAgent[]> {
    const numbers = Array.from({ length: count }, (_, index) => this.agents.length + index + 1);
    return Promise.all(numbers.map((number) => this.addAgent(`agent-${number}`)));
  }

  /**
   * With the id of one that is registered, its key is replaced. Its data may be there before it: see `agentDataDir`.
   * `env` goes over `agentEnv`.
   */
  async addAgent(agentId: string, env: NodeJS.ProcessEnv = {}): Promise<ClusterAgent> {
    const agent = await this.#createAgent(agentId, { ...this.#options.agentEnv, ...env });
    this.agents = [...this.agents, agent];
    await agent.start();
    return agent;
  }

  agentDataDir(agentId: string): string {
    return join(this.#directory, agentId);
  }

  /** One process with that many agents, `<name>-1`, `<name>-2` ...; waits until all are online. */
  async addAgentHost(name: string, count: number): Promise<AgentHost> {
    const agentIds = Array.from({ length: count }, (_, index) => `${name}-${index + 1}`);
    const network = this.#isProxied ? await this.#proxyTo(this.url, 80) : undefined;
    const dataDir = join(this.#directory, name);
    const keysFile = join(this.#directory, `${name}.keys.json`);
    writeFileSync(keysFile, JSON.stringify(await this.#registerAgents(agentIds)));
    const logFile = join(this.#directory, `${name}.log`);
    const hostProcess = nodeProgram({
      name,
      entry: HOST_ENTRY,
      env: {
        ...process.env,
        LOG_LEVEL: 'warn',
        ...this.#options.agentEnv,
        STREAMSPACE_URL: network ? through(network, this.url) : this.url,
        AGENT_DATA_DIR: dataDir,
        AGENT_KEYS_FILE: keysFile,
      },
      isReady: async () => (await this.#countOnline(agentIds)) === count,
      readyTimeoutMs: HOST_READY_TIMEOUT_MS,
      logFile,
      registry: this.#registry,
    });
    const host = new AgentHost({ process: hostProcess, logFile, dataDir, agentIds, network });
    this.hosts = [...this.hosts, host];
    await host.start();
    return host;
  }

  async #registerAgents(agentIds: readonly string[]): Promise<Record<string, string>> {
    const keys: Record<string, string> = {};
    const left = [...agentIds];
    const register = async (): Promise<void> => {
      for (let agentId = left.shift(); agentId !== undefined; agentId = left.shift())
        keys[agentId] = await this.#registerAgent(agentId, this.#options.agentEnv ?? {});
    };
    await Promise.all(Array.from({ length: REGISTER_AT_ONCE }, register));
    return keys;
  }

  async #countOnline(agentIds: readonly string[]): Promise<number> {
    const [row] = await this.database
      .knex('agent_states')
      .whereIn('agent_id', [...agentIds])
      .where({ state: 'online' })
      .count('* as count');
    return Number(row?.['count'] ?? 0);
  }

  /** Ends everything, in reverse order, and throws when a process is left. */
  async stop(): Promise<void> {
    for (const { pid } of [...this.agents, ...this.hosts, ...this.replicas]) this.#remember(pid);
    this.#remember(this.redis.pid);
    const atOnce = 0;
    await Promise.all([...this.agents, ...this.hosts].map((agent) => agent.stop(atOnce)));
    await this.loadBalancer?.stop();
    await Promise.all(this.replicas.map((replica) => replica.stop(atOnce)));
    await Promise.all(this.#proxies.map((proxy) => proxy.stop()));
    await this.redis.stop();
    await this.database.drop();
    rmSync(this.#directory, { recursive: true, force: true });
    const left = this.#processes.filter((process) => isRunning(process));
    if (left.length > 0)
      throw new Error(`processes are left: ${left.map(({ pid }) => pid).join(', ')}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  async #startReplicas(): Promise<void> {
    const count = this.#options.replicas ?? 3;
    const replicas: ClusterReplica[] = [];
    for (let number = 1; number <= count; number++)
      replicas.push(await this.#createReplica(`api-${number}`));
    this.replicas = replicas;
    await Promise.all(replicas.map((replica) => replica.start()));
  }

  async #createReplica(name: string): Promise<ClusterReplica> {
    const network = await this.#replicaNetwork();
    const logFile = join(this.#directory, `${name}.log`);
    const replica = apiReplica({
      name,
      port: await freePort(),
      databaseUrl: network ? through(network.postgres, this.database.url) : this.database.url,
      redisUrl: network ? through(network.redis, this.redis.url) : this.redis.url,
      adminToken: this.adminToken,
      env: { ...process.env, NODE_ENV: 'test', LOG_LEVEL: 'info', ...this.#options.env },
      logFile,
      registry: this.#registry,
    });
    return new ClusterReplica({ replica, logFile, adminToken: this.adminToken, network });
  }

  async #replicaNetwork(): Promise<ReplicaNetwork | undefined> {
    if (!this.#isProxied) return undefined;
    return {
      redis: await this.#proxyTo(this.redis.url, REDIS_PORT),
      postgres: await this.#proxyTo(this.database.url, POSTGRES_PORT),
    };
  }

  async #createAgent(agentId: string, agentEnv: NodeJS.ProcessEnv): Promise<ClusterAgent> {
    const { adminToken } = this;
    const key = await this.#registerAgent(agentId, agentEnv);
    const network = this.#isProxied ? await this.#proxyTo(this.url, 80) : undefined;
    const dataDir = this.agentDataDir(agentId);
    const logFile = join(this.#directory, `${agentId}.log`);
    const agent = processAgent({
      agentId,
      key,
      url: network ? through(network, this.url) : this.url,
      controlUrl: this.url,
      adminToken,
      dataDir,
      entry: AGENT_ENTRY,
      env: { ...process.env, LOG_LEVEL: 'info', ...agentEnv },
      logFile,
      registry: this.#registry,
    });
    return new ClusterAgent({ agent, logFile, dataDir, network });
  }

  async #registerAgent(agentId: string, env: NodeJS.ProcessEnv): Promise<string> {
    const { AGENT_REGION: region, AGENT_PLATFORM: platform = 'process' } = env;
    return ensureAgentKey({
      url: this.url,
      adminToken: this.adminToken,
      agent: { agentId, platform, ...(region === undefined ? {} : { region }) },
    });
  }

  async #proxyTo(url: string, defaultPort: number): Promise<FaultProxy> {
    const { hostname, port } = new URL(url);
    const target = { host: hostname, port: port === '' ? defaultPort : Number(port) };
    const proxy = await startFaultProxy({ target });
    this.#proxies.push(proxy);
    return proxy;
  }

  #remember(pid: number | undefined): void {
    const identity = pid === undefined ? undefined : identifyProcess(pid);
    if (identity) this.#processes.push(identity);
  }
}

function through({ host, port }: FaultProxy, url: string): string {
  const proxied = new URL(url);
  proxied.hostname = host;
  proxied.port = String(port);
  return proxied.href.replace(/\/$/, '');
}

/** Starts a cluster and waits until every replica is ready and every agent online. Dispose it. */
export async function startTestCluster(options: TestClusterOptions = {}): Promise<TestCluster> {
  const database = options.database ?? (await createTestDatabase());
  const redis = await startRedis({ registry: testProcessRegistry() });
  const cluster = new TestCluster(options, database, redis);
  try {
    await cluster.start();
  } catch (error) {
    await cluster.stop();
    throw error;
  }
  return cluster;
}
