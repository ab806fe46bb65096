import {
  agentAndKeySchema,
  agentDrainSchema,
  agentPageSchema,
  agentPingSchema,
  agentSchema,
  commandPageSchema,
  commandSchema,
  sessionAndCommandSchema,
  sessionPageSchema,
  sessionSchema,
  templatePageSchema,
  templateSchema,
  type Agent,
  type AgentAction,
  type AgentAndKey,
  type AgentDrain,
  type AgentPing,
  type AgentQuery,
  type Command,
  type CommandQuery,
  type CreateAgent,
  type CreateSession,
  type CreateTemplate,
  type Page,
  type PageQuery,
  type Session,
  type SessionAndCommand,
  type SessionQuery,
  type Template,
  type TemplateSpec,
} from '@streamspace/protocol';
import type { z } from 'zod';
import {
  HttpCaller,
  type CallerOptions,
  type CallOptions,
  type ChangeOptions,
} from './http-caller.ts';
import { liveEvents, type EventsOptions, type Notice } from './live-events.ts';

export class SessionsClient {
  readonly #caller: HttpCaller;

  constructor(caller: HttpCaller) {
    this.#caller = caller;
  }

  create(body: CreateSession, options: ChangeOptions = {}): Promise<SessionAndCommand> {
    return this.#caller.json(sessionAndCommandSchema, {
      ...options,
      method: 'POST',
      path: ['sessions'],
      body,
    });
  }

  get(id: string, options: CallOptions = {}): Promise<Session> {
    return this.#caller.json(sessionSchema, { ...options, path: ['sessions', id] });
  }

  list(query: Partial<SessionQuery> = {}, options: CallOptions = {}): Promise<Page<Session>> {
    return this.#caller.json(sessionPageSchema, { ...options, path: ['sessions'], query });
  }

  stop(id: string, options: ChangeOptions = {}): Promise<SessionAndCommand> {
    return this.#caller.json(sessionAndCommandSchema, {
      ...options,
      method: 'DELETE',
      path: ['sessions', id],
    });
  }

  hibernate(id: string, options: ChangeOptions = {}): Promise<SessionAndCommand> {
    return this.#change(id, 'hibernate', options);
  }

  wake(id: string, options: ChangeOptions = {}): Promise<SessionAndCommand> {
    return this.#change(id, 'wake', options);
  }

  #change(id: string, action: string, options: ChangeOptions): Promise<SessionAndCommand> {
    return this.#caller.json(sessionAndCommandSchema, {
      ...options,
      method: 'POST',
      path: ['sessions', id, action],
    });
  }
}

export class CommandsClient {
  readonly #caller: HttpCaller;

  constructor(caller: HttpCaller) {
    this.#caller = caller;
  }

  get(id: string, options: CallOptions = {}): Promise<Command> {
    return this.#caller.json(commandSchema, { ...options, path: ['commands', id] });
  }

  list(query: Partial<CommandQuery> = {}, options: CallOptions = {}): Promise<Page<Command>> {
    return this.#caller.json(commandPageSchema, { ...options, path: ['commands'], query });
  }

  cancel(id: string, options: ChangeOptions = {}): Promise<Command> {
    return this.#caller.json(commandSchema, {
      ...options,
      method: 'POST',
      path: ['commands', id, 'cancel'],
    });
  }
}

export class AgentsClient {
  readonly #caller: HttpCaller;

  constructor(caller: HttpCaller) {
    this.#caller = caller;
  }

  create(body: CreateAgent, options: ChangeOptions = {}): Promise<AgentAndKey> {
    return this.#caller.json(agentAndKeySchema, {
      ...options,
      method: 'POST',
      path: ['agents'],
      body,
    });
  }

  get(id: string, options: CallOptions = {}): Promise<Agent> {
    return this.#caller.json(agentSchema, { ...options, path: ['agents', id] });
  }

  list(query: Partial<AgentQuery> = {}, options: CallOptions = {}): Promise<Page<Agent>> {
    return this.#caller.json(agentPageSchema, { ...options, path: ['agents'], query });
  }

  delete(id: string, options: CallOptions & { readonly force?: boolean } = {}): Promise<void> {
    const { force, ...rest } = options;
    return this.#caller.nothing({
      ...rest,
      method: 'DELETE',
      path: ['agents', id],
      query: { force },
    });
  }

  cordon(id: string, options: ChangeOptions = {}): Promise<Agent> {
    return this.#act(agentSchema, id, 'cordon', options);
  }

  uncordon(id: string, options: ChangeOptions = {}): Promise<Agent> {
    return this.#act(agentSchema, id, 'uncordon', options);
  }

  drain(id: string, options: ChangeOptions = {}): Promise<AgentDrain> {
    return this.#act(agentDrainSchema, id, 'drain', options);
  }

  /** A live round trip, through whichever replica. */
  ping(id: string, options: ChangeOptions = {}): Promise<AgentPing> {
    return this.#act(agentPingSchema, id, 'ping', options);
  }

  rotateKey(
    id: string,
    body: { readonly graceSeconds?: number } = {},
    options: ChangeOptions = {},
  ): Promise<AgentAndKey> {
    return this.#caller.json(agentAndKeySchema, {
      ...options,
      method: 'POST',
      path: ['agents', id, 'rotate-key'],
      body,
    });
  }

  /** A durable command for the agent itself. */
  command(id: string, action: AgentAction, options: ChangeOptions = {}): Promise<Command> {
    return this.#caller.json(commandSchema, {
      ...options,
      method: 'POST',
      path: ['agents', id, 'commands'],
      body: { action },
    });
  }

  #act<Schema extends z.ZodType>(
    schema: Schema,
    id: string,
    action: string,
    options: ChangeOptions,
  ): Promise<z.infer<Schema>> {
    return this.#caller.json(schema, { ...options, method: 'POST', path: ['agents', id, action] });
  }
}

export class TemplatesClient {
  readonly #caller: HttpCaller;

  constructor(caller: HttpCaller) {
    this.#caller = caller;
  }

  create(body: CreateTemplate, options: ChangeOptions = {}): Promise<Template> {
    return this.#caller.json(templateSchema, {
      ...options,
      method: 'POST',
      path: ['templates'],
      body,
    });
  }

  get(name: string, options: CallOptions = {}): Promise<Template> {
    return this.#caller.json(templateSchema, { ...options, path: ['templates', name] });
  }

  list(query: Partial<PageQuery> = {}, options: CallOptions = {}): Promise<Page<Template>> {
    return this.#caller.json(templatePageSchema, { ...options, path: ['templates'], query });
  }

  put(name: string, body: TemplateSpec, options: CallOptions = {}): Promise<Template> {
    return this.#caller.json(templateSchema, {
      ...options,
      method: 'PUT',
      path: ['templates', name],
      body,
    });
  }

  delete(name: string, options: CallOptions = {}): Promise<void> {
    return this.#caller.nothing({ ...options, method: 'DELETE', path: ['templates', name] });
  }
}

export interface Client {
  readonly sessions: SessionsClient;
  readonly commands: CommandsClient;
  readonly agents: AgentsClient;
  readonly templates: TemplatesClient;
  /** Live changes, connected again by itself. */
  events(options?: EventsOptions): AsyncGenerator<Notice>;
}

/** Everything throws `ProblemError` for an answer that is not 2xx, and repeats nothing by itself. */
export function createClient(options: CallerOptions): Client {
  const caller = new HttpCaller(options);
  return {
    sessions: new SessionsClient(caller),
    commands: new CommandsClient(caller),
    agents: new AgentsClient(caller),
    templates: new TemplatesClient(caller),
    events: (eventsOptions) => liveEvents(caller, eventsOptions),
  };
}
