import { createHash, randomBytes } from 'node:crypto';

const PREFIX = 'sst_';
const TOKEN_BYTES = 32;

/** 256 random bits, so a plain SHA-256 is as good as any slower hash. */
export function newAccessToken(): string {
  return PREFIX + randomBytes(TOKEN_BYTES).toString('base64url');
}

/** How a token is stored. */
export function hashAccessToken(token: string): string {
  return createHash('sha256').update(token).digest('hex');
}
