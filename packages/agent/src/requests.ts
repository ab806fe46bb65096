import type { AgentReply, AgentRequest } from '@streamspace/protocol';
import { hostname } from 'node:os';
import type { Logger } from 'pino';
import type { Clock } from './clock.ts';
import { CommandError } from './runtime.ts';

export type RequestHandler = (
  payload: Record<string, unknown>,
) => Promise<Record<string, unknown>> | Record<string, unknown>;

export type RequestHandlers = Readonly<Record<string, RequestHandler>>;

export function builtInRequests(clock: Clock): RequestHandlers {
  return {
    ping: () => ({ at: new Date(clock.now()).toISOString(), host: hostname(), pid: process.pid }),
  };
}

/** Never rejects: what a handler throws is an answer, too. */
export async function answerRequest(
  handlers: RequestHandlers,
  { kind, payload }: AgentRequest,
  logger: Logger,
): Promise<AgentReply> {
  const handler = Object.hasOwn(handlers, kind) ? handlers[kind] : undefined;
  if (handler === undefined) {
    return { ok: false, code: 'unknown_kind', message: `This agent does not know "${kind}".` };
  }
  try {
    return { ok: true, payload: await handler(payload) };
  } catch (err) {
    if (err instanceof CommandError) return { ok: false, code: err.code, message: err.message };
    logger.error({ err, kind }, 'request failed for an unexpected reason');
    return { ok: false, code: 'internal_error', message: `"${kind}" failed inside the agent.` };
  }
}
