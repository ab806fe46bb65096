import { entryPoints } from './entry-points.ts';
import { answersOk, nodeProgram } from './node-program.ts';
import type { ProcessRegistry } from './process-registry.ts';
import type { ProcessEvent, SupervisedProcess } from './supervised-process.ts';

export interface ApiReplicaOptions {
  /** Its REPLICA_NAME: api-1, api-2 ... */
  readonly name: string;
  readonly port: number;
  readonly databaseUrl: string;
  readonly redisUrl: string;
  readonly redisPrefix?: string;
  readonly adminToken: string;
  /** What it inherits and what else it is told; the variables above win. */
  readonly env: NodeJS.ProcessEnv;
  readonly logFile?: string | undefined;
  readonly restartOnExit?: boolean;
  readonly stopGraceMs?: number | undefined;
  readonly registry?: ProcessRegistry | undefined;
  /** Gives up a start that is under way. */
  readonly signal?: AbortSignal | undefined;
  readonly onEvent?: ((event: ProcessEvent) => void) | undefined;
}

export interface ApiReplica {
  readonly name: string;
  readonly port: number;
  readonly url: string;
  readonly process: SupervisedProcess;
}

const HOST = '127.0.0.1';
const READY_TIMEOUT_MS = 30_000;

/** An API replica as a process; not started yet. */
export function apiReplica(options: ApiReplicaOptions): ApiReplica {
  const { name, port } = options;
  const url = `http://${HOST}:${port}`;
  const process = nodeProgram({
    name,
    entry: entryPoints.api,
    env: {
      ...options.env,
      HOST,
      PORT: String(port),
      DATABASE_URL: options.databaseUrl,
      REDIS_URL: options.redisUrl,
      REDIS_PREFIX: options.redisPrefix ?? 'ss',
      REPLICA_NAME: name,
      INTERNAL_URL: url,
      STREAMSPACE_ADMIN_TOKEN: options.adminToken,
    },
    isReady: () => answersOk(`${url}/readyz`),
    readyTimeoutMs: READY_TIMEOUT_MS,
    logFile: options.logFile,
    restartOnExit: options.restartOnExit,
    stopGraceMs: options.stopGraceMs,
    registry: options.registry,
    signal: options.signal,
    onEvent: options.onEvent,
  });
  return { name, port, url, process };
}
