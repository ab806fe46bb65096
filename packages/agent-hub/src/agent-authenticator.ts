import { createHash } from 'node:crypto';
import { compare as bcryptCompare } from 'bcryptjs';
import { queryRows } from '@streamspace/database';
import type { Knex } from 'knex';
import { v7 as uuidv7 } from 'uuid';

export type Authentication =
  | { readonly kind: 'authenticated'; readonly keyId: string }
  | { readonly kind: 'unauthorized' }
  | { readonly kind: 'not_approved' };

/** How an agent's key is stored. */
export function hashAgentKey(key: string): string {
  return createHash('sha256').update(key).digest('hex');
}

const UPSTREAM_HASH = /^\$2[aby]\$/;

export class AgentAuthenticator {
  readonly #db: Knex;

  constructor(db: Knex) {
    this.#db = db;
  }

  async authenticate(agentId: string, key: string): Promise<Authentication> {
    const [row] = await queryRows<{
      key_id: string | null;
      upstream_hash: string | null;
      approval_status: string | null;
    }>(
      this.#db,
      `select k.key_id, a.api_key_hash as upstream_hash, a.approval_status
       from agents a
       join agent_queues q on q.agent_id = a.agent_id and q.deleted_at is null
       left join agent_keys k on k.agent_id = a.agent_id and k.key_hash = :hash
         and (k.expires_at is null or k.expires_at > now())
       where a.agent_id = :agentId`,
      { agentId, hash: hashAgentKey(key) },
    );
    if (!row) return { kind: 'unauthorized' };
    const keyId = row.key_id ?? (await this.#adoptUpstreamKey(agentId, key, row.upstream_hash));
    if (keyId === undefined) return { kind: 'unauthorized' };
    // A missing approval is upstream's default, `approved`.
    if ((row.approval_status ?? 'approved') !== 'approved') return { kind: 'not_approved' };
    return { kind: 'authenticated', keyId };
  }

  /** Upstream stored bcrypt, 250 ms a check: done once, then it is a SHA-256 like every other. */
  async #adoptUpstreamKey(
    agentId: string,
    key: string,
    hash: string | null,
  ): Promise<string | undefined> {
    if (hash === null || !UPSTREAM_HASH.test(hash)) return undefined;
    if (!(await bcryptCompare(key, hash))) return undefined;
    const keyId = `key_${uuidv7()}`;
    await this.#db.transaction(async (trx) => {
      await trx('agent_keys')
        .insert({ key_id: keyId, agent_id: agentId, key_hash: hashAgentKey(key) })
        .onConflict('key_hash')
        .ignore();
      await trx('agents').where({ agent_id: agentId }).update({ api_key_hash: null });
    });
    const stored: unknown = await this.#db('agent_keys')
      .where({ agent_id: agentId, key_hash: hashAgentKey(key) })
      .pluck('key_id');
    return Array.isArray(stored) && typeof stored[0] === 'string' ? stored[0] : undefined;
  }
}
