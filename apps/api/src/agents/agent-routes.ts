import {
  agentAndKeySchema,
  agentPageSchema,
  agentQuerySchema,
  agentSchema,
  createAgentSchema,
  rotateKeySchema,
  type Agent,
} from '@streamspace/protocol';
import { z } from 'zod';
import { adminOnly, staff } from '../access/principal.ts';
import { ApiError } from '../http/api-error.ts';
import { idParameter, noParameters, noQuery } from '../http/parameters.ts';
import { defineRoute, json, type Route } from '../http/route.ts';
import { agentActionRoutes } from './agent-action-routes.ts';
import type { AgentRoutesOptions } from './agent-routes-options.ts';
import { deleteAgent } from './agent-deletion.ts';
import { newAgentKey } from './agent-key.ts';
import { getAgent, unknownAgent } from './agent-lookup.ts';
import { AgentStore } from './agent-store.ts';

export function agentRoutes(options: AgentRoutesOptions): readonly Route[] {
  return [
    ...readingRoutes(options),
    creatingRoute(options),
    rotatingRoute(options),
    deletingRoute(options),
    ...agentActionRoutes(options),
  ];
}

function readingRoutes({ db }: AgentRoutesOptions): readonly Route[] {
  const agents = new AgentStore(db);
  return [
    defineRoute({
      method: 'get',
      path: '/api/v1/agents',
      operationId: 'listAgents',
      tag: 'agents',
      summary: 'Agents by id',
      roles: staff,
      params: noParameters,
      query: agentQuerySchema,
      responses: { 200: { description: 'A page.', schema: agentPageSchema } },
      handler: async ({ query }) => json(200, await agents.list(query)),
    }),
    defineRoute({
      method: 'get',
      path: '/api/v1/agents/:id',
      operationId: 'getAgent',
      tag: 'agents',
      summary: 'One agent: state, replica, load, queue',
      roles: staff,
      params: idParameter,
      query: noQuery,
      responses: { 200: { description: 'The agent.', schema: agentSchema } },
      problems: [404],
      handler: async ({ params: { id } }) => json(200, await getAgent(agents, id)),
    }),
  ];
}

function creatingRoute({ db, idempotency: store, events }: AgentRoutesOptions): Route {
  return defineRoute({
    method: 'post',
    path: '/api/v1/agents',
    operationId: 'createAgent',
    tag: 'agents',
    summary: 'Adds an agent and shows its key, once',
    description:
      'The agent says its capacity when it connects. An id that was deleted may be used again.',
    roles: adminOnly,
    params: noParameters,
    query: noQuery,
    body: createAgentSchema,
    responses: {
      201: {
        description: 'Added.',
        schema: agentAndKeySchema,
        headers: { Location: 'The agent.' },
      },
    },
    problems: [409],
    keepsOwnAnswer: true,
    toLocation: (body) =>
      `/api/v1/agents/${encodeURIComponent(agentAndKeySchema.parse(body).agent.agentId)}`,
    async handler({ body, idempotency }) {
      const { agentId } = body;
      const key = newAgentKey();
      const agent = await db.transaction(async (trx) => {
        const agents = new AgentStore(trx);
        if (!(await agents.create(body)))
          throw new ApiError(409, 'agent_exists', `There is an agent '${agentId}' already.`);
        await agents.addKey(agentId, key);
        const created = await getAgent(agents, agentId);
        const answer = { agent: created, secretShown: true };
        await store.keep(idempotency, { status: 201, answer }, trx);
        return created;
      });
      events.publish([toAgentEvent(agent)]);
      return json(201, { agent, key: key.key });
    },
  });
}

function rotatingRoute({ db, idempotency: store, gate }: AgentRoutesOptions): Route {
  return defineRoute({
    method: 'post',
    path: '/api/v1/agents/:id/rotate-key',
    operationId: 'rotateAgentKey',
    tag: 'agents',
    summary: 'A new key, shown once; the old one serves for a grace period',
    description:
      'At the end of the grace period, at once where it is 0, what is connected with an old key is cut, on whichever replica it is.',
    roles: adminOnly,
    params: idParameter,
    query: noQuery,
    body: rotateKeySchema,
    isBodyOptional: true,
    responses: { 200: { description: 'The new key.', schema: agentAndKeySchema } },
    problems: [404],
    keepsOwnAnswer: true,
    async handler({ params: { id }, body: { graceSeconds }, idempotency }) {
      const key = newAgentKey();
      const { shown, revokedKeyIds } = await db.transaction(async (trx) => {
        const agents = new AgentStore(trx);
        const agent = await getAgent(agents, id);
        const retired = await agents.retireKeys(id, graceSeconds);
        await agents.addKey(id, key);
        const answer = { agent, previousKeyExpiresAt: retired.expiresAt?.toISOString() ?? null };
        await store.keep(
          idempotency,
          { status: 200, answer: { ...answer, secretShown: true } },
          trx,
        );
        return { shown: answer, revokedKeyIds: retired.revokedKeyIds };
      });
      if (revokedKeyIds.length > 0) gate.revokeKeys(revokedKeyIds);
      return json(200, { ...shown, key: key.key });
    },
  });
}

function deletingRoute(options: AgentRoutesOptions): Route {
  return defineRoute({
    method: 'delete',
    path: '/api/v1/agents/:id',
    operationId: 'deleteAgent',
    tag: 'agents',
    summary: 'Removes an agent',
    description:
      'With `force=true` also one that has sessions: they fail, and what was open ends with the reason.',
    roles: adminOnly,
    params: idParameter,
    query: z.strictObject({ force: z.stringbool().default(false) }),
    responses: { 204: { description: 'Removed.' } },
    problems: [404, 409],
    async handler({ params: { id }, query: { force } }) {
      const answer = await deleteAgent(options, id, force);
      if (answer.kind === 'not_found') throw unknownAgent(id);
      if (answer.kind === 'has_sessions')
        throw new ApiError(
          409,
          'agent_has_sessions',
          `The agent has ${answer.count} sessions: drain it first, or use ?force=true.`,
        );
      return json(204);
    },
  });
}

function toAgentEvent({ agentId, state, connectionEpoch, replica }: Agent) {
  return {
    type: 'agent',
    userId: null,
    agent: { agentId, state, connectionEpoch, replica },
  } as const;
}
