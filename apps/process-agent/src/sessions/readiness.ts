import { CommandError, sleep, systemClock, type Endpoint } from '@streamspace/agent';
import type { StreamProtocol } from '@streamspace/protocol';
import { portAnswers } from '../machine/port-answers.ts';
import type { Exit } from './exit.ts';
import type { SessionProcess } from './session-process.ts';

const FIRST_POLL_MS = 25;
const MAX_POLL_MS = 250;

export interface ReadinessInput {
  readonly endpoint: Endpoint;
  readonly process: SessionProcess;
  readonly protocol: StreamProtocol;
  readonly withinMs: number;
  readonly signal: AbortSignal;
}

/** Resolves when the port answers or the process has ended. Throws `port_silent`, or the signal's reason. */
export async function waitUntilReady(input: ReadinessInput): Promise<'ready' | { exit: Exit }> {
  const { endpoint, process, protocol, withinMs, signal } = input;
  const deadline = performance.now() + withinMs;
  const ended = new AbortController();
  const exited = process.exited.then((exit) => {
    ended.abort();
    return { exit };
  });
  for (let pollMs = FIRST_POLL_MS; ; pollMs = Math.min(pollMs * 2, MAX_POLL_MS)) {
    const first = await Promise.race([exited, portAnswers(protocol, endpoint)]);
    signal.throwIfAborted();
    if (typeof first === 'object') return first;
    if (first) return 'ready';
    if (performance.now() > deadline) {
      throw new CommandError(
        'port_silent',
        `Nothing answered on port ${endpoint.port} within ${Math.round(withinMs / 1000)} s.`,
      );
    }
    await sleep(systemClock, pollMs, AbortSignal.any([signal, ended.signal]));
  }
}
