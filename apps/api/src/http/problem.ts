import { isUnavailable, SqlState, sqlStateOf } from '@streamspace/database';
import { PROBLEM_TYPE_PREFIX, type Problem } from '@streamspace/protocol';
import { InvalidCursorError, SessionError, type SessionErrorCode } from '@streamspace/sessions';
import { ApiError, invalidRequest, unavailable } from './api-error.ts';

export interface ProblemAnswer {
  readonly problem: Problem;
  readonly headers: Readonly<Record<string, string>>;
}

/** RFC 9457, of anything that can be thrown. A 5xx that is not ours carries no inner message. */
export function toProblem(error: unknown): ProblemAnswer {
  if (error instanceof SessionError) return fromSessionError(error);
  const { status, code, message, headers, errors } = toApiError(error);
  return {
    problem: {
      type: PROBLEM_TYPE_PREFIX + code,
      title: toTitle(code),
      status,
      detail: message,
      ...(errors && { errors: errors.map((entry) => ({ ...entry })) }),
    },
    headers,
  };
}

function toApiError(error: unknown): ApiError {
  if (error instanceof ApiError) return error;
  if (error instanceof InvalidCursorError)
    return invalidRequest([{ pointer: '?cursor', detail: error.message }]);
  if (isUnavailable(error) || isLockConflict(error))
    return unavailable('A service that this needs is away; trying again later is right.');
  return fromHttpError(error) ?? new ApiError(500, 'internal_error', 'Something went wrong here.');
}

/** Two transactions stood in each other's way; nothing was written, and a second try is right. */
export function isLockConflict(error: unknown): boolean {
  const state = sqlStateOf(error);
  return (
    state === SqlState.deadlockDetected ||
    state === SqlState.lockNotAvailable ||
    state === SqlState.serializationFailure
  );
}

const SESSION_ERRORS: Readonly<
  Record<SessionErrorCode, { readonly status: number; readonly pointer?: string }>
> = {
  session_not_found: { status: 404 },
  unknown_template: { status: 422, pointer: '/template' },
  platform_not_supported: { status: 422, pointer: '/platform' },
  resources_too_large: { status: 422, pointer: '/resources/memory' },
  environment_too_large: { status: 422, pointer: '/env' },
  unknown_agent: { status: 422, pointer: '/agentId' },
  agent_deleted: { status: 409 },
  agent_cordoned: { status: 409 },
  agent_not_approved: { status: 409 },
  agent_unsuitable: { status: 409 },
  no_agent_available: { status: 503 },
  queue_full: { status: 429 },
  no_room: { status: 409 },
  session_busy: { status: 409 },
  wrong_state: { status: 409 },
};

/** A session that ends or an agent that comes back takes seconds, seldom less. */
const RETRY_AFTER_SECONDS = '5';

function fromSessionError({ code, message, agents }: SessionError): ProblemAnswer {
  const { status, pointer } = SESSION_ERRORS[code];
  const shown = code === 'session_not_found' ? 'not_found' : code;
  return {
    problem: {
      type: PROBLEM_TYPE_PREFIX + shown,
      title: toTitle(shown),
      status,
      detail: message,
      ...(pointer !== undefined && { errors: [{ pointer, detail: message }] }),
      ...(agents && { agents: agents.map((agent) => ({ ...agent })) }),
    },
    headers: status === 503 || status === 429 ? { 'Retry-After': RETRY_AFTER_SECONDS } : {},
  };
}

const HTTP_ERRORS: Readonly<Record<string, readonly [status: number, code: string, text: string]>> =
  {
    'entity.parse.failed': [400, 'malformed_json', 'The body is not valid JSON.'],
    'entity.too.large': [413, 'body_too_large', 'The body is larger than 1 MiB.'],
    'encoding.unsupported': [415, 'unsupported_media_type', 'This content encoding is not read.'],
    'charset.unsupported': [415, 'unsupported_media_type', 'The body is to be UTF-8.'],
    'request.aborted': [400, 'request_aborted', 'The request ended before its body did.'],
    'request.size.invalid': [400, 'invalid_request', 'The body is not as long as it says.'],
  };

/** What Express and its body parser throw: they name the kind in `type` and the status in `status`. */
function fromHttpError(error: unknown): ApiError | undefined {
  if (typeof error !== 'object' || error === null) return undefined;
  const known =
    'type' in error && typeof error.type === 'string' ? HTTP_ERRORS[error.type] : undefined;
  if (known) return new ApiError(...known);
  const status = 'status' in error && typeof error.status === 'number' ? error.status : 500;
  if (status < 400 || status >= 500) return undefined;
  return new ApiError(400, 'invalid_request', 'The request cannot be read.');
}

function toTitle(code: string): string {
  const words = code.replaceAll('_', ' ');
  return words.charAt(0).toUpperCase() + words.slice(1);
}
