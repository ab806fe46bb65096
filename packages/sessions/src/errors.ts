/** Why an agent was passed over. */
export interface PassedOver {
  readonly agentId: string;
  readonly code: string;
  readonly reason: string;
}

export type SessionErrorCode =
  | 'session_not_found'
  | 'unknown_template'
  | 'platform_not_supported'
  | 'resources_too_large'
  | 'environment_too_large'
  | 'unknown_agent'
  | 'agent_deleted'
  | 'agent_cordoned'
  | 'agent_not_approved'
  | 'agent_unsuitable'
  | 'no_agent_available'
  | 'queue_full'
  | 'no_room'
  | 'session_busy'
  | 'wrong_state';

/** What the caller asked for cannot be; the code is stable, the message is for a person. */
export class SessionError extends Error {
  readonly code: SessionErrorCode;
  /** With `no_agent_available`: every agent, up to 100. */
  readonly agents: readonly PassedOver[] | undefined;

  constructor(code: SessionErrorCode, message: string, agents?: readonly PassedOver[]) {
    super(message);
    this.name = 'SessionError';
    this.code = code;
    this.agents = agents;
  }
}
