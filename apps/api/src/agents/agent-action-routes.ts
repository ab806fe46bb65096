import { commandRowSchema, toCommand } from '@streamspace/database';
import {
  agentDrainSchema,
  agentPingSchema,
  agentSchema,
  commandSchema,
  createAgentCommandSchema,
  sessionActionSchema,
} from '@streamspace/protocol';
import { z } from 'zod';
import { staff } from '../access/principal.ts';
import { ApiError } from '../http/api-error.ts';
import { emptyBody, idParameter, noQuery } from '../http/parameters.ts';
import { defineRoute, json, type Route } from '../http/route.ts';
import { drainAgent } from './agent-drain.ts';
import { getAgent, unknownAgent } from './agent-lookup.ts';
import type { AgentRoutesOptions } from './agent-routes-options.ts';
import { AgentStore } from './agent-store.ts';

const sessionRoutesOfActions = {
  start_session: 'POST /api/v1/sessions',
  stop_session: 'DELETE /api/v1/sessions/{id}',
  hibernate_session: 'POST /api/v1/sessions/{id}/hibernate',
  wake_session: 'POST /api/v1/sessions/{id}/wake',
} as const;

/** Session actions are let through here to be refused with the route that is right. */
const agentCommandSchema = createAgentCommandSchema
  .extend({
    action: z.union([createAgentCommandSchema.shape.action, sessionActionSchema]),
  })
  .transform(({ action }, context) => {
    const parsed = createAgentCommandSchema.shape.action.safeParse(action);
    if (parsed.success) return { action: parsed.data };
    const route = sessionRoutesOfActions[sessionActionSchema.parse(action)];
    context.addIssue({
      code: 'custom',
      path: ['action'],
      message: `is for sessions: use ${route}`,
    });
    return z.NEVER;
  });

const PING_TIMEOUT_MS = 5000;

const shared = {
  method: 'post',
  tag: 'agents',
  roles: staff,
  params: idParameter,
  query: noQuery,
} as const;
const withoutBody = { ...shared, body: emptyBody, isBodyOptional: true, problems: [404] } as const;

export function agentActionRoutes(options: AgentRoutesOptions): readonly Route[] {
  return [...cordoningRoutes(options), commandingRoute(options), pingingRoute(options)];
}

function cordoningRoutes(options: AgentRoutesOptions): readonly Route[] {
  const agents = new AgentStore(options.db);
  const cordoning = (isCordoned: boolean) =>
    defineRoute({
      ...withoutBody,
      path: `/api/v1/agents/:id/${isCordoned ? 'cordon' : 'uncordon'}`,
      operationId: isCordoned ? 'cordonAgent' : 'uncordonAgent',
      summary: isCordoned ? 'Takes no new sessions' : 'Takes new sessions again',
      responses: { 200: { description: 'The agent.', schema: agentSchema } },
      async handler({ params: { id } }) {
        if (!(await agents.setCordoned(id, isCordoned))) throw unknownAgent(id);
        return json(200, await getAgent(agents, id));
      },
    });
  return [
    cordoning(true),
    cordoning(false),
    defineRoute({
      ...withoutBody,
      path: '/api/v1/agents/:id/drain',
      operationId: 'drainAgent',
      summary: 'Takes no new sessions, and stops those it has',
      responses: { 202: { description: 'They are being stopped.', schema: agentDrainSchema } },
      async handler({ params: { id } }) {
        const stopping = await drainAgent({ ...options, agents }, id);
        if (stopping === undefined) throw unknownAgent(id);
        return json(202, { agent: await getAgent(agents, id), stopping });
      },
    }),
  ];
}

function commandingRoute({ queue }: AgentRoutesOptions): Route {
  return defineRoute({
    ...shared,
    path: '/api/v1/agents/:id/commands',
    operationId: 'createAgentCommand',
    summary: 'A durable command for the agent itself',
    description: 'Sessions are started, stopped, hibernated and woken under /sessions.',
    body: agentCommandSchema,
    responses: { 202: { description: 'Stored; it will be carried out.', schema: commandSchema } },
    problems: [404, 429],
    keepsOwnAnswer: true,
    toReplayedBody: (answer) =>
      toCommand(z.object({ command: commandRowSchema }).parse(answer).command),
    async handler({ params: { id }, body: { action }, idempotency }) {
      const answer = await queue.enqueueAgentCommands({ agentId: id, action, idempotency });
      if (answer.kind !== 'accepted')
        throw answer.kind === 'not_found' ? unknownAgent(id) : queueFull();
      const [command] = answer.commands;
      if (!command) throw new Error('a command was accepted and not returned');
      return json(202, toCommand(command));
    },
  });
}

function queueFull(): ApiError {
  return new ApiError(429, 'queue_full', 'Too many commands wait for this agent already.', {
    headers: { 'Retry-After': '5' },
  });
}

function pingingRoute({ db, gate }: AgentRoutesOptions): Route {
  const agents = new AgentStore(db);
  return defineRoute({
    ...withoutBody,
    path: '/api/v1/agents/:id/ping',
    operationId: 'pingAgent',
    summary: 'A live round trip to the agent, wherever it is connected',
    responses: { 200: { description: 'It answered.', schema: agentPingSchema } },
    async handler({ params: { id } }) {
      await getAgent(agents, id);
      const startedAt = performance.now();
      const reply = await gate.request(id, 'ping', {}, { timeoutMs: PING_TIMEOUT_MS });
      const roundTripMs = Math.round((performance.now() - startedAt) * 1000) / 1000;
      if (!reply.ok)
        throw new ApiError(503, reply.code, reply.message, { headers: { 'Retry-After': '2' } });
      const { replica, connectionEpoch } = await getAgent(agents, id);
      return json(200, { roundTripMs, replica, epoch: connectionEpoch });
    },
  });
}
