import type { CommandQueue } from '@streamspace/commands';
import { toCommand } from '@streamspace/database';
import { commandPageSchema, commandQuerySchema, commandSchema } from '@streamspace/protocol';
import { everyRole, scopeOf } from '../access/principal.ts';
import { ApiError, notFound } from '../http/api-error.ts';
import { emptyBody, idParameter, noParameters, noQuery } from '../http/parameters.ts';
import { defineRoute, json, type Route } from '../http/route.ts';
import type { CommandStore } from './command-store.ts';

export interface CommandRoutesOptions {
  readonly commands: CommandStore;
  readonly queue: CommandQueue;
}

export function commandRoutes({ commands, queue }: CommandRoutesOptions): readonly Route[] {
  return [
    defineRoute({
      method: 'get',
      path: '/api/v1/commands',
      operationId: 'listCommands',
      tag: 'commands',
      summary: 'Commands, newest first',
      roles: everyRole,
      params: noParameters,
      query: commandQuerySchema,
      responses: { 200: { description: 'A page.', schema: commandPageSchema } },
      handler: async ({ query, principal }) =>
        json(200, await commands.list(query, scopeOf(principal))),
    }),
    defineRoute({
      method: 'get',
      path: '/api/v1/commands/:id',
      operationId: 'getCommand',
      tag: 'commands',
      summary: 'One command, with all its times',
      roles: everyRole,
      params: idParameter,
      query: noQuery,
      responses: { 200: { description: 'The command.', schema: commandSchema } },
      problems: [404],
      async handler({ params: { id }, principal }) {
        const command = await commands.find(id, scopeOf(principal));
        if (!command) throw notFound(`command '${id}'`);
        return json(200, command);
      },
    }),
    defineRoute({
      method: 'post',
      path: '/api/v1/commands/:id/cancel',
      operationId: 'cancelCommand',
      tag: 'commands',
      summary: 'Asks for a command’s cancellation',
      description:
        'What was never sent ends at once. Of what was sent the agent is asked, and its answer is the truth: it may complete all the same. A stop cannot be cancelled.',
      roles: everyRole,
      params: idParameter,
      query: noQuery,
      body: emptyBody,
      isBodyOptional: true,
      responses: { 202: { description: 'The command as it is now.', schema: commandSchema } },
      problems: [404, 409],
      async handler({ params: { id }, principal }) {
        if (!(await commands.find(id, scopeOf(principal)))) throw notFound(`command '${id}'`);
        const answer = await queue.cancel(id);
        if (answer.kind === 'accepted') return json(202, toCommand(answer.command));
        if (answer.kind === 'not_found') throw notFound(`command '${id}'`);
        throw answer.kind === 'ended'
          ? new ApiError(409, 'command_ended', `The command is ${answer.command.status} already.`)
          : new ApiError(409, 'command_is_stop', 'A stop is always carried out.');
      },
    }),
  ];
}
