/** SQLSTATEs that the code tells apart: https://www.postgresql.org/docs/current/errcodes-appendix.html */
export const SqlState = {
  uniqueViolation: '23505',
  foreignKeyViolation: '23503',
  deadlockDetected: '40P01',
  serializationFailure: '40001',
  lockNotAvailable: '55P03',
  queryCanceled: '57014',
  tooManyConnections: '53300',
} as const;

export function sqlStateOf(error: unknown): string | undefined {
  if (typeof error !== 'object' || error === null || !('code' in error)) return undefined;
  return typeof error.code === 'string' && /^[0-9A-Z]{5}$/.test(error.code)
    ? error.code
    : undefined;
}

/** The data of a statement is at fault (class 22), not the statement or the server. */
export function isDataException(error: unknown): boolean {
  return sqlStateOf(error)?.startsWith('22') ?? false;
}

const NETWORK_CODES = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'EPIPE',
  'ETIMEDOUT',
  'ENOTFOUND',
  'EAI_AGAIN',
]);

/**
 * PostgreSQL is away, full or starting: trying again later is right. Classes 08, 57P0x and 53, the
 * network's own errors, and a pool that could not give out a connection in time.
 */
export function isUnavailable(error: unknown): boolean {
  const state = sqlStateOf(error);
  if (state !== undefined)
    return /^(08|57P|53)/.test(state) || state === SqlState.lockNotAvailable || state === '25P03';
  return isConnectionFailure(error);
}

const POOL_ERRORS: readonly unknown[] = ['KnexTimeoutError', 'TimeoutError'];
const CONNECTION_MESSAGE =
  /Connection terminated|timeout expired|connect timeout|Client has encountered a connection error/i;

/** Not by class: an error of Node's own may come from another realm, as under jest. */
function isConnectionFailure(error: unknown): boolean {
  if (typeof error !== 'object' || error === null || !('message' in error)) return false;
  if ('code' in error && typeof error.code === 'string' && NETWORK_CODES.has(error.code))
    return true;
  if ('name' in error && POOL_ERRORS.includes(error.name)) return true;
  return CONNECTION_MESSAGE.test(String(error.message));
}
