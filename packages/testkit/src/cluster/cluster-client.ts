import {
  type Agent,
  agentSchema,
  type Command,
  commandSchema,
  type CreateSession,
  type Session,
  type SessionAndCommand,
  sessionAndCommandSchema,
  sessionSchema,
} from '@streamspace/protocol';
import { waitUntil } from '@streamspace/local-stack';

export interface ApiRequest {
  readonly method?: string;
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
  readonly timeoutMs?: number;
}

export interface ApiAnswer {
  readonly status: number;
  readonly headers: Headers;
  readonly body: unknown;
}

export class UnexpectedAnswerError extends Error {
  readonly answer: ApiAnswer;

  constructor(request: string, answer: ApiAnswer) {
    super(`${request} was answered with ${answer.status}: ${JSON.stringify(answer.body)}`);
    this.name = 'UnexpectedAnswerError';
    this.answer = answer;
  }
}

const REQUEST_TIMEOUT_MS = 20_000;
const WAIT_TIMEOUT_MS = 30_000;

/** Speaks to one address as one principal. Every request has a connection of its own: the balancer decides anew. */
export class ClusterClient {
  readonly url: string;
  readonly #token: string;

  constructor(url: string, token: string) {
    this.url = url;
    this.#token = token;
  }

  /** Whatever the answer is; rejects only when there is none. */
  async request(path: string, request: ApiRequest = {}): Promise<ApiAnswer> {
    const { method = 'GET', body, headers, timeoutMs = REQUEST_TIMEOUT_MS } = request;
    const response = await fetch(`${this.url}/api/v1${path}`, {
      method,
      headers: {
        authorization: `Bearer ${this.#token}`,
        connection: 'close',
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        ...headers,
      },
      signal: AbortSignal.timeout(timeoutMs),
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await response.text();
    return { status: response.status, headers: response.headers, body: parseText(text) };
  }

  async createSession(
    session: Partial<CreateSession> = {},
    headers: Readonly<Record<string, string>> = {},
    timeoutMs = REQUEST_TIMEOUT_MS,
  ): Promise<SessionAndCommand> {
    const body = { template: 'hello-web', ...session };
    const answer = await this.#expect('/sessions', { method: 'POST', body, headers, timeoutMs });
    return sessionAndCommandSchema.parse(answer);
  }

  async stopSession(sessionId: string, timeoutMs = REQUEST_TIMEOUT_MS): Promise<SessionAndCommand> {
    return sessionAndCommandSchema.parse(
      await this.#expect(`/sessions/${sessionId}`, { method: 'DELETE', timeoutMs }),
    );
  }

  async session(sessionId: string): Promise<Session> {
    return sessionSchema.parse(await this.#expect(`/sessions/${sessionId}`));
  }

  async command(commandId: string): Promise<Command> {
    return commandSchema.parse(await this.#expect(`/commands/${commandId}`));
  }

  async agent(agentId: string): Promise<Agent> {
    return agentSchema.parse(await this.#expect(`/agents/${encodeURIComponent(agentId)}`));
  }

  /** Polls, through errors too, until the command has ended. */
  async waitForCommand(commandId: string, timeoutMs = WAIT_TIMEOUT_MS): Promise<Command> {
    return waitUntil(
      async () => {
        const command = await this.command(commandId);
        return command.completedAt === null ? undefined : command;
      },
      { what: `command ${commandId} has ended`, timeoutMs },
    );
  }

  async waitForSession(
    sessionId: string,
    state: Session['state'],
    timeoutMs = WAIT_TIMEOUT_MS,
  ): Promise<Session> {
    return waitUntil(
      async () => {
        const session = await this.session(sessionId);
        return session.state === state ? session : undefined;
      },
      { what: `session ${sessionId} is ${state}`, timeoutMs },
    );
  }

  async waitForAgent(
    agentId: string,
    state: Agent['state'],
    timeoutMs = WAIT_TIMEOUT_MS,
  ): Promise<Agent> {
    return waitUntil(
      async () => {
        const agent = await this.agent(agentId);
        return agent.state === state ? agent : undefined;
      },
      { what: `agent ${agentId} is ${state}`, timeoutMs },
    );
  }

  async #expect(path: string, request: ApiRequest = {}): Promise<unknown> {
    const answer = await this.request(path, request);
    if (answer.status >= 200 && answer.status < 300) return answer.body;
    throw new UnexpectedAnswerError(`${request.method ?? 'GET'} ${path}`, answer);
  }
}

function parseText(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
