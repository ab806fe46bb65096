import {
  MAX_ERROR_MESSAGE_BYTES,
  MAX_RESULT_BYTES,
  toStorableJson,
  toStorableText,
  truncateUtf8,
  type Outcome,
} from '@streamspace/protocol';

const CODE = /^[a-z][a-z0-9_]{0,63}$/;

/** Makes an outcome one that the control plane accepts: what is too long is cut, what is unstorable is replaced. */
export function fitOutcome({ status, errorCode, errorMessage, result }: Outcome): Outcome {
  return {
    status,
    ...(errorCode != null && { errorCode: fitCode(errorCode) }),
    ...(errorMessage != null && { errorMessage: fitMessage(errorMessage) }),
    ...(result !== undefined && { result: fitResult(result) }),
  };
}

export function fitMessage(text: string): string {
  return truncateUtf8(toStorableText(text), MAX_ERROR_MESSAGE_BYTES);
}

export function fitCode(code: string): string {
  return CODE.test(code) ? code : 'internal_error';
}

function fitResult(result: unknown): unknown {
  const json = toJson(result);
  const sizeBytes = Buffer.byteLength(json);
  if (sizeBytes > MAX_RESULT_BYTES) return { truncated: true, sizeBytes };
  return toStorableJson(JSON.parse(json));
}

function toJson(value: unknown): string {
  try {
    return JSON.stringify(value) ?? 'null';
  } catch {
    return '{"unreadable":true}'; // a cycle or a bigint: it has no JSON
  }
}

export function completed(result?: unknown): Outcome {
  return result === undefined ? { status: 'completed' } : { status: 'completed', result };
}

export function failed(errorCode: string, errorMessage: string): Outcome {
  return { status: 'failed', errorCode, errorMessage };
}

export function cancelled(errorCode: string, errorMessage: string): Outcome {
  return { status: 'cancelled', errorCode, errorMessage };
}

export const superseded: Outcome = cancelled(
  'superseded',
  'A later command of the same session took its place.',
);

export const predecessorFailed: Outcome = cancelled(
  'predecessor_failed',
  'The command before it did not succeed, so this one was not run.',
);

export const agentCrashed: Outcome = failed(
  'agent_crashed',
  'The agent’s process ended twice while it ran this command, so it is not tried again.',
);
