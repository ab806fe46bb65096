/** One wrong field: a JSON pointer into the body, `?name` for a query parameter, `:name` for a part of the path. */
export interface FieldError {
  readonly pointer: string;
  readonly detail: string;
}

export interface ApiErrorExtras {
  readonly headers?: Readonly<Record<string, string>>;
  readonly errors?: readonly FieldError[];
}

/** A failure that the caller caused or can act on. The code is stable: clients switch on it. */
export class ApiError extends Error {
  readonly status: number;
  readonly code: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly errors: readonly FieldError[] | undefined;

  constructor(status: number, code: string, message: string, extras: ApiErrorExtras = {}) {
    super(message);
    this.name = 'ApiError';
    this.status = status;
    this.code = code;
    this.headers = extras.headers ?? {};
    this.errors = extras.errors;
  }
}

export function notFound(what: string): ApiError {
  return new ApiError(404, 'not_found', `There is no ${what}.`);
}

export function invalidRequest(errors: readonly FieldError[]): ApiError {
  return new ApiError(400, 'invalid_request', 'The request has wrong fields.', { errors });
}

/** For what comes back by itself. */
export function unavailable(message: string, retryAfterSeconds = 2): ApiError {
  return new ApiError(503, 'unavailable', message, {
    headers: { 'Retry-After': String(retryAfterSeconds) },
  });
}
