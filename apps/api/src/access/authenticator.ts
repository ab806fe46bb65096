import { timingSafeEqual } from 'node:crypto';
import { ApiError } from '../http/api-error.ts';
import { hashAccessToken } from './access-token.ts';
import type { Principal } from './principal.ts';
import type { TokenStore } from './token-store.ts';

export interface AuthenticatorOptions {
  readonly tokens: TokenStore;
  /** Accepted as the user `admin`, beside what is stored. */
  readonly adminToken: string | undefined;
  readonly nowMs?: () => number;
}

/** How long a revoked token may go on serving. */
const CACHE_MS = 5000;
const MAX_CACHED = 10_000;
const BEARER = /^Bearer +([\w\-.~+/]{1,512}=*) *$/i;
const CHALLENGE = 'Bearer realm="streamspace"';

export class Authenticator {
  readonly #tokens: TokenStore;
  readonly #adminHash: Buffer | undefined;
  readonly #nowMs: () => number;
  readonly #cache = new Map<string, { principal: Principal | undefined; untilMs: number }>();
  #adminUserId = 'admin';

  constructor({ tokens, adminToken, nowMs = () => performance.now() }: AuthenticatorOptions) {
    this.#tokens = tokens;
    this.#adminHash =
      adminToken === undefined ? undefined : Buffer.from(hashAccessToken(adminToken));
    this.#nowMs = nowMs;
  }

  /** Makes the user that the admin token stands for; needs the schema. */
  async start(): Promise<void> {
    if (this.#adminHash) this.#adminUserId = await this.#tokens.ensureUser('admin', 'admin');
  }

  /** Throws `unauthorized`. */
  async authenticate(authorization: string | undefined): Promise<Principal> {
    if (authorization === undefined) throw unauthorized('A bearer token is needed.', CHALLENGE);
    const token = BEARER.exec(authorization)?.[1];
    const principal = token === undefined ? undefined : await this.#find(token);
    if (!principal)
      throw unauthorized(
        'The token is not known, has expired or was revoked.',
        `${CHALLENGE}, error="invalid_token"`,
      );
    return principal;
  }

  async #find(token: string): Promise<Principal | undefined> {
    const hash = hashAccessToken(token);
    if (this.#adminHash && timingSafeEqual(this.#adminHash, Buffer.from(hash)))
      return { userId: this.#adminUserId, role: 'admin', tokenId: 'STREAMSPACE_ADMIN_TOKEN' };
    const cached = this.#cache.get(hash);
    if (cached && cached.untilMs > this.#nowMs()) return cached.principal;
    const principal = await this.#tokens.findPrincipal(hash);
    this.#remember(hash, principal);
    return principal;
  }

  #remember(hash: string, principal: Principal | undefined): void {
    this.#cache.delete(hash);
    const oldest = this.#cache.keys().next();
    if (this.#cache.size >= MAX_CACHED && !oldest.done) this.#cache.delete(oldest.value);
    this.#cache.set(hash, { principal, untilMs: this.#nowMs() + CACHE_MS });
  }
}

function unauthorized(message: string, challenge: string): ApiError {
  return new ApiError(401, 'unauthorized', message, { headers: { 'WWW-Authenticate': challenge } });
}
