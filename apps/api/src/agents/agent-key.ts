import { randomBytes } from 'node:crypto';
import { hashAgentKey } from '@streamspace/agent-hub';
import { v7 as uuidv7 } from 'uuid';

const KEY_BYTES = 32;

/** The key itself is shown once; its hash is stored. */
export interface NewAgentKey {
  readonly key: string;
  readonly keyId: string;
  readonly keyHash: string;
}

export function newAgentKey(): NewAgentKey {
  const key = `ssa_${randomBytes(KEY_BYTES).toString('base64url')}`;
  return { key, keyId: `key_${uuidv7()}`, keyHash: hashAgentKey(key) };
}
