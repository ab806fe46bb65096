import type { WireCommand } from '@streamspace/protocol';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createAgent, type Agent, type AgentOptions } from '../src/index.ts';
import { ScriptedRuntime } from './scripted-runtime.ts';
import { TestHub } from './test-hub.ts';

type Cleanup = () => Promise<unknown>;

export interface TestBench {
  readonly hub: TestHub;
  readonly runtime: ScriptedRuntime;
  readonly journalDir: string;
  startHub(port?: number): Promise<TestHub>;
  startAgent(options?: Partial<AgentOptions>): Promise<Agent>;
  onCleanup(cleanup: Cleanup): void;
  cleanUp(): Promise<void>;
}

/** A control plane's end on a port of its own, a directory, and as many agents as a test starts. */
export async function createTestBench(): Promise<TestBench> {
  const cleanups: Cleanup[] = [];
  const journalDir = await mkdtemp(join(tmpdir(), 'agent-test-'));
  cleanups.push(() => rm(journalDir, { recursive: true, force: true }));
  const runtime = new ScriptedRuntime();
  const startHub = async (port = 0): Promise<TestHub> => {
    const hub = await new TestHub().listen(port);
    cleanups.push(() => hub.close().catch(() => undefined));
    return hub;
  };
  const hub = await startHub();
  return {
    hub,
    runtime,
    journalDir,
    startHub,
    async startAgent(options = {}) {
      const agent = createAgent({
        url: hub.url,
        agentId: 'agent-1',
        key: 'secret-key',
        journalDir,
        runtime,
        platform: 'test',
        version: '1.2.3',
        // The lowest jitter: reconnects at once.
        random: () => 0,
        settleMs: 200,
        ...options,
      });
      cleanups.push(() => agent.stop());
      await agent.start();
      return agent;
    },
    onCleanup: (cleanup) => cleanups.push(cleanup),
    async cleanUp() {
      for (const cleanup of cleanups.splice(0).toReversed()) await cleanup();
    },
  };
}

let commandCount = 0;

/** A session command; its id says what it is. */
export function command(
  action: 'start' | 'stop' | 'hibernate' | 'wake',
  sessionId: string,
  generation: number,
  changes: Partial<WireCommand> = {},
): WireCommand {
  commandCount += 1;
  return {
    commandId: `cmd_${action}_${sessionId}_${generation}_${commandCount}`,
    attempt: 1,
    sessionId,
    generation,
    action: `${action}_session`,
    payload: action === 'start' ? startPayload() : {},
    ...changes,
  };
}

export function startPayload(): Record<string, unknown> {
  return {
    template: 'hello',
    userId: 'user-1',
    protocol: 'http',
    ports: [{ name: 'web', port: 8080 }],
    platform: { command: ['true'] },
    resources: {},
    env: { GREETING: 'hi' },
  };
}
