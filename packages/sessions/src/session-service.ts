import type {
  ChangeAnswer,
  CommandQueue,
  IdempotencyEntry,
  StartAnswer,
} from '@streamspace/commands';
import { toCommand, toSession } from '@streamspace/database';
import type {
  CreateSession,
  SessionAction,
  SessionAndCommand,
  Template,
} from '@streamspace/protocol';
import { v7 as uuidv7 } from 'uuid';
import { findBar, findMismatch, findShortage, type AgentFacts } from './agent-fit.ts';
import type { AgentSelector, Candidate } from './agent-selector.ts';
import { SessionError, type SessionErrorCode } from './errors.ts';
import type { Scope } from './scope.ts';
import type { SessionStore } from './session-store.ts';
import { planStart, type StartPlan } from './start-plan.ts';
import type { TemplateStore } from './template-store.ts';

export interface SessionServiceOptions {
  readonly sessions: SessionStore;
  readonly templates: TemplateStore;
  readonly selector: AgentSelector;
  readonly queue: CommandQueue;
}

export interface CreateOptions {
  readonly userId: string;
  readonly request: CreateSession;
  readonly idempotency?: IdempotencyEntry | undefined;
}

export interface ChangeOptions {
  readonly sessionId: string;
  readonly scope: Scope;
  readonly idempotency?: IdempotencyEntry | undefined;
}

interface Start {
  readonly options: CreateOptions;
  readonly template: Template;
  readonly plan: StartPlan;
}

type Accepted = Extract<StartAnswer, { kind: 'accepted' }>;

/**
 * Rounds of candidates that may all turn out full. Each time an attempt finds no room another request
 * has just got it, so rounds are used up only while sessions are being placed.
 */
const MAX_ROUNDS = 20;

/** The use cases of a session. What they answer is committed. */
export class SessionService {
  readonly #options: SessionServiceOptions;

  constructor(options: SessionServiceOptions) {
    this.#options = options;
  }

  /** Throws `SessionError`; nothing is written then. */
  async create(options: CreateOptions): Promise<SessionAndCommand> {
    const { request, userId } = options;
    const template = await this.#options.templates.find(request.template);
    if (!template)
      throw new SessionError('unknown_template', `There is no template '${request.template}'.`);
    const start = { options, template, plan: planStart(request, template, userId) };
    const accepted =
      request.agentId === undefined
        ? await this.#startAnywhere(start)
        : await this.#startOn(request.agentId, start);
    return toAnswer(accepted);
  }

  stop(options: ChangeOptions): Promise<SessionAndCommand> {
    return this.#change('stop_session', options);
  }

  hibernate(options: ChangeOptions): Promise<SessionAndCommand> {
    return this.#change('hibernate_session', options);
  }

  wake(options: ChangeOptions): Promise<SessionAndCommand> {
    return this.#change('wake_session', options);
  }

  /** An agent that was lost a moment ago is better than none: its command waits, as it would in a fail-over. */
  async #startAnywhere(start: Start): Promise<Accepted> {
    const { requirements } = start.plan;
    for (const state of ['online', 'lost'] as const) {
      for (let round = 0; round < MAX_ROUNDS; round += 1) {
        const candidates = await this.#options.selector.findCandidates(requirements, state);
        if (candidates.length === 0) break;
        const accepted = await this.#tryEach(candidates, start);
        if (accepted) return accepted;
      }
    }
    throw new SessionError(
      'no_agent_available',
      'No agent can take this session now.',
      await this.#options.selector.explain(requirements),
    );
  }

  async #tryEach(candidates: readonly Candidate[], start: Start): Promise<Accepted | undefined> {
    for (const candidate of candidates) {
      const answer = await this.#reserve(candidate, start);
      if (answer.kind === 'accepted') return answer;
    }
    return undefined;
  }

  /** A pinned agent may be away: the command waits for it until it expires. */
  async #startOn(agentId: string, start: Start): Promise<Accepted> {
    const agent = await this.#options.selector.findFacts(agentId);
    if (!agent) throw new SessionError('unknown_agent', `There is no agent '${agentId}'.`);
    assertPlaceable(agent, start.plan);
    const answer = await this.#reserve(agent, start);
    if (answer.kind === 'accepted') return answer;
    const now = await this.#options.selector.findFacts(agentId);
    if (now) assertPlaceable(now, start.plan);
    throw noRoomOn(agentId, 'Its room was taken by other requests at the same moment.');
  }

  #reserve({ agentId, platform }: Candidate, start: Start): Promise<StartAnswer> {
    const { options, template, plan } = start;
    const payload = plan.payloads.get(platform);
    if (!payload) throw new Error(`no payload for platform '${platform}'`);
    return this.#options.queue.startSession({
      sessionId: `ses_${uuidv7()}`,
      agentId,
      userId: options.userId,
      name: options.request.name ?? null,
      template: template.name,
      platform,
      labels: options.request.labels ?? {},
      payload,
      cpu: plan.resources.cpu ?? null,
      memory: plan.resources.memory ?? null,
      cpuMillis: plan.requirements.cpuMillis,
      memoryBytes: plan.requirements.memoryBytes,
      onVanished: template.onVanished ?? 'fail',
      idempotency: options.idempotency,
    });
  }

  async #change(action: SessionAction, options: ChangeOptions): Promise<SessionAndCommand> {
    const { sessionId, scope, idempotency } = options;
    if (!(await this.#options.sessions.find(sessionId, scope))) throw sessionNotFound(sessionId);
    const answer = await this.#options.queue.changeSession({ sessionId, action, idempotency });
    return toChangeAnswer(answer, sessionId);
  }
}

function sessionNotFound(sessionId: string): SessionError {
  return new SessionError('session_not_found', `There is no session '${sessionId}'.`);
}

function noRoomOn(agentId: string, reason: string): SessionError {
  return new SessionError('no_agent_available', `Agent '${agentId}' has no room.`, [
    { agentId, code: 'no_room', reason },
  ]);
}

const BARS: Readonly<Record<string, SessionErrorCode>> = {
  agent_deleted: 'agent_deleted',
  agent_not_approved: 'agent_not_approved',
  agent_cordoned: 'agent_cordoned',
};

function assertPlaceable(agent: AgentFacts, plan: StartPlan): void {
  const { agentId } = agent;
  const bar = findBar(agent);
  if (bar)
    throw new SessionError(
      BARS[bar.code] ?? 'agent_unsuitable',
      `Agent '${agentId}': ${bar.reason}`,
    );
  const mismatch = findMismatch(agent, plan.requirements);
  if (mismatch)
    throw new SessionError('agent_unsuitable', `Agent '${agentId}': ${mismatch.reason}`);
  const shortage = findShortage(agent, plan.requirements);
  if (shortage?.code === 'queue_full')
    throw new SessionError('queue_full', `Agent '${agentId}': ${shortage.reason}`);
  if (shortage) throw noRoomOn(agentId, shortage.reason);
}

function toAnswer({ session, command }: Accepted): SessionAndCommand {
  return { session: toSession(session), command: command && toCommand(command) };
}

function toChangeAnswer(answer: ChangeAnswer, sessionId: string): SessionAndCommand {
  if (answer.kind === 'accepted') return toAnswer(answer);
  if (answer.kind === 'nothing_to_do') return { session: toSession(answer.session), command: null };
  if (answer.kind === 'not_found') throw sessionNotFound(sessionId);
  const state = 'session' in answer ? answer.session.state : '';
  throw new SessionError(...refusals[answer.kind](state));
}

const refusals: Readonly<
  Record<
    'queue_full' | 'busy' | 'no_room' | 'wrong_state',
    (state: string) => readonly [SessionErrorCode, string]
  >
> = {
  queue_full: () => ['queue_full', 'Too many commands wait for its agent already.'],
  busy: (state) => [
    'session_busy',
    `The session is ${state}; another command for it has not ended.`,
  ],
  no_room: () => ['no_room', 'Its agent has no room to run it again.'],
  wrong_state: (state) => ['wrong_state', `The session is ${state}, which does not allow this.`],
};
