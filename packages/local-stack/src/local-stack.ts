import { existsSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { loadAdminToken } from './admin-token.ts';
import { ensureAgentKey } from './agent-credentials.ts';
import { type ApiReplica, apiReplica } from './api-replica.ts';
import { endSessions } from './end-sessions.ts';
import { ensureDatabase } from './ensure-database.ts';
import { entryPoints } from './entry-points.ts';
import { freePort } from './free-port.ts';
import { type LoadBalancer, startLoadBalancer } from './load-balancer.ts';
import { runNodeProgram } from './node-program.ts';
import { startPostgres } from './postgres-server.ts';
import { type ProcessAgent, processAgent } from './process-agent.ts';
import { startRedis } from './redis-server.ts';
import { killSessionProcesses } from './session-processes.ts';
import type { StateDirectory } from './state-directory.ts';
import type { ProcessEvent } from './supervised-process.ts';

export interface LocalStackOptions {
  readonly state: StateDirectory;
  readonly replicas: number;
  /** The load balancer's. */
  readonly port: number;
  /** Embedded PostgreSQL when left out. */
  readonly databaseUrl?: string | undefined;
  /** A Redis of our own when left out. */
  readonly redisUrl?: string | undefined;
  readonly hasAgent: boolean;
  /** What the processes inherit. */
  readonly env: NodeJS.ProcessEnv;
  /** Gives up the start. */
  readonly signal?: AbortSignal;
  readonly onEvent: (event: ProcessEvent) => void;
}

interface Stoppable {
  stop(): Promise<void>;
}

const AGENT_ID = 'local-1';

/** Where the local agent keeps its journal, its sessions' records and files. */
export function localAgentDirectory(state: StateDirectory): string {
  return join(state.path, 'agents', AGENT_ID);
}
const HOST = '127.0.0.1';
/** Seconds: the load balancer asks every second, and there is one agent to move. */
const BRIEF_DRAIN = { DRAIN_DELAY: '2', DRAIN_WINDOW: '1' };

/** The whole system on one machine. Its processes are started again when they die, on the same ports. */
export class LocalStack implements AsyncDisposable {
  readonly adminToken: string;
  replicas: readonly ApiReplica[] = [];
  agent: ProcessAgent | undefined;
  databaseUrl = '';
  redisUrl = '';
  readonly #options: LocalStackOptions;
  readonly #started: Stoppable[] = [];
  #loadBalancer: LoadBalancer | undefined;

  constructor(options: LocalStackOptions) {
    this.#options = options;
    this.adminToken = loadAdminToken(options.state.path);
  }

  get url(): string {
    return `http://${HOST}:${this.#options.port}`;
  }

  get loadBalancer(): LoadBalancer | undefined {
    return this.#loadBalancer;
  }

  async start(): Promise<void> {
    const { signal } = this.#options;
    this.redisUrl = await this.#startRedis();
    this.databaseUrl = await this.#startDatabase();
    signal?.throwIfAborted();
    await this.#migrate();
    signal?.throwIfAborted();
    await this.#startReplicas();
    signal?.throwIfAborted();
    await this.#startLoadBalancer();
    signal?.throwIfAborted();
    if (this.#options.hasAgent) await this.#startAgent();
  }

  /** In reverse order of the start. */
  async stop(): Promise<void> {
    for (let last = this.#started.pop(); last; last = this.#started.pop()) await last.stop();
    if (this.agent) killSessionProcesses(localAgentDirectory(this.#options.state));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  async #startDatabase(): Promise<string> {
    const { databaseUrl, state } = this.#options;
    if (databaseUrl !== undefined) return databaseUrl;
    const postgres = await startPostgres({
      dataDir: join(state.path, 'postgres'),
      ...this.#supervision('postgres'),
    });
    this.#started.push(postgres);
    return ensureDatabase(postgres.url, 'streamspace');
  }

  async #startRedis(): Promise<string> {
    if (this.#options.redisUrl !== undefined) return this.#options.redisUrl;
    const redis = await startRedis(this.#supervision('redis'));
    this.#started.push(redis);
    return redis.url;
  }

  async #migrate(): Promise<void> {
    await runNodeProgram({
      entry: entryPoints.migrate,
      env: { ...this.#options.env, DATABASE_URL: this.databaseUrl },
      logFile: this.#logFile('migrate'),
    });
  }

  async #startReplicas(): Promise<void> {
    const { replicas, port, env } = this.#options;
    const ports: number[] = [];
    for (let number = 1; number <= replicas; number++) ports.push(await freePort(port + number));
    this.replicas = ports.map((replicaPort, index) => {
      const name = `api-${index + 1}`;
      return apiReplica({
        name,
        port: replicaPort,
        databaseUrl: this.databaseUrl,
        redisUrl: this.redisUrl,
        redisPrefix: env['REDIS_PREFIX'] ?? 'ss',
        adminToken: this.adminToken,
        env: { ...BRIEF_DRAIN, ...env },
        ...this.#supervision(name),
      });
    });
    // Stopped all at once: each of them waits for its connections to leave.
    this.#started.push({
      stop: async () => {
        await Promise.all(this.replicas.map((replica) => replica.process.stop()));
      },
    });
    await Promise.all(this.replicas.map((replica) => replica.process.start()));
  }

  async #startLoadBalancer(): Promise<void> {
    this.#loadBalancer = await startLoadBalancer({
      port: this.#options.port,
      directory: this.#options.state.path,
      backends: this.replicas.map(({ port }) => ({ host: HOST, port })),
      ...this.#supervision('load-balancer'),
    });
    this.#started.push(this.#loadBalancer);
  }

  async #startAgent(): Promise<void> {
    const { state, env } = this.#options;
    const dataDir = localAgentDirectory(state);
    const key = await ensureAgentKey({
      url: this.url,
      adminToken: this.adminToken,
      agent: { agentId: AGENT_ID, platform: 'process', region: 'local' },
      keyFile: `${dataDir}.key.json`,
    });
    this.agent = processAgent({
      agentId: AGENT_ID,
      key,
      url: this.url,
      adminToken: this.adminToken,
      dataDir,
      env: { AGENT_REGION: 'local', ...env },
      ...this.#supervision(`agent-${AGENT_ID}`),
    });
    this.#started.push(this.agent.process, { stop: () => this.#endSessions() });
    await this.agent.process.start();
  }

  /** An agent leaves its sessions running when it stops; here everything is to end. */
  async #endSessions(): Promise<void> {
    const { url, adminToken } = this;
    try {
      await endSessions({ url, adminToken, agentId: AGENT_ID });
    } catch {
      // The control plane does not answer; it finds out by the next inventory.
    }
  }

  #supervision(name: string): {
    restartOnExit: true;
    registry: StateDirectory['processes'];
    logFile: string;
    signal: AbortSignal | undefined;
    onEvent: (event: ProcessEvent) => void;
  } {
    const { state, signal, onEvent } = this.#options;
    const logFile = this.#logFile(name);
    if (existsSync(logFile)) renameSync(logFile, `${logFile}.previous`);
    return { restartOnExit: true, registry: state.processes, logFile, signal, onEvent };
  }

  #logFile(name: string): string {
    return join(this.#options.state.path, 'logs', `${name}.log`);
  }
}

/** Starts everything, and leaves nothing running when that fails. */
export async function startLocalStack(options: LocalStackOptions): Promise<LocalStack> {
  const stack = new LocalStack(options);
  try {
    await stack.start();
  } catch (error) {
    await stack.stop();
    throw error;
  }
  return stack;
}
