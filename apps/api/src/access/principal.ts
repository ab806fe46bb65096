import type { Scope } from '@streamspace/sessions';

export const roles = ['admin', 'operator', 'user'] as const;
export type Role = (typeof roles)[number];

export const everyRole: readonly Role[] = roles;
export const staff: readonly Role[] = ['admin', 'operator'];
export const adminOnly: readonly Role[] = ['admin'];

/** Who asks, as their token proves it. */
export interface Principal {
  readonly userId: string;
  readonly role: Role;
  readonly tokenId: string;
}

/** Of routes that ask for no token: sees nothing. */
export const nobody: Principal = { userId: '', role: 'user', tokenId: '' };

export function scopeOf({ role, userId }: Principal): Scope {
  return role === 'user' ? { userId } : 'everything';
}
