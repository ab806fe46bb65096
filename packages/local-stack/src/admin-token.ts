import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { readOptionalFile, writePrivateFile } from './secret-file.ts';

const TOKEN = /^ss_[A-Za-z0-9_-]{43}$/;

export function createAdminToken(): string {
  return `ss_${randomBytes(32).toString('base64url')}`;
}

/** Made once for a state directory, and the same from then on. */
export function loadAdminToken(stateDir: string): string {
  const file = join(stateDir, 'admin-token');
  const kept = readOptionalFile(file)?.trim();
  if (kept !== undefined && TOKEN.test(kept)) return kept;
  const token = createAdminToken();
  writePrivateFile(file, `${token}\n`);
  return token;
}
