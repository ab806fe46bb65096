import { agentSchema } from '@streamspace/protocol';
import { entryPoints } from './entry-points.ts';
import { nodeProgram } from './node-program.ts';
import type { ProcessRegistry } from './process-registry.ts';
import type { ProcessEvent, SupervisedProcess } from './supervised-process.ts';

export interface ProcessAgentOptions {
  readonly agentId: string;
  readonly key: string;
  /** Of the control plane, for the agent: the load balancer's. */
  readonly url: string;
  /** Where to ask whether it is online, when that is another address. */
  readonly controlUrl?: string;
  /** To see whether the agent is online. */
  readonly adminToken: string;
  readonly dataDir: string;
  readonly env: NodeJS.ProcessEnv;
  /** Another agent program than the process agent. */
  readonly entry?: string;
  readonly logFile?: string | undefined;
  readonly restartOnExit?: boolean;
  readonly stopGraceMs?: number | undefined;
  readonly registry?: ProcessRegistry | undefined;
  /** Gives up a start that is under way. */
  readonly signal?: AbortSignal | undefined;
  readonly onEvent?: ((event: ProcessEvent) => void) | undefined;
}

export interface ProcessAgent {
  readonly agentId: string;
  readonly key: string;
  readonly process: SupervisedProcess;
}

const REQUEST_TIMEOUT_MS = 2_000;
const READY_TIMEOUT_MS = 45_000;

async function isOnline(options: ProcessAgentOptions): Promise<boolean> {
  const { url, controlUrl = url, agentId, adminToken } = options;
  const response = await fetch(`${controlUrl}/api/v1/agents/${encodeURIComponent(agentId)}`, {
    headers: { authorization: `Bearer ${adminToken}`, connection: 'close' },
    signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS),
  });
  const { state } = agentSchema.pick({ state: true }).parse(await response.json());
  return state === 'online';
}

/** An agent as a process; not started yet. It is ready when the control plane calls it online. */
export function processAgent(options: ProcessAgentOptions): ProcessAgent {
  const { agentId, key } = options;
  const process = nodeProgram({
    name: `agent-${agentId}`,
    entry: options.entry ?? entryPoints.processAgent,
    env: {
      ...options.env,
      STREAMSPACE_URL: options.url,
      AGENT_ID: agentId,
      AGENT_KEY: key,
      AGENT_DATA_DIR: options.dataDir,
    },
    isReady: () => isOnline(options),
    readyTimeoutMs: READY_TIMEOUT_MS,
    logFile: options.logFile,
    restartOnExit: options.restartOnExit,
    stopGraceMs: options.stopGraceMs,
    registry: options.registry,
    signal: options.signal,
    onEvent: options.onEvent,
  });
  return { agentId, key, process };
}
