/** Whose rows a query may see: one user's, or everybody's (operators and admins). */
export type Scope = { readonly userId: string } | 'everything';

/** For a binding: null means that the scope does not limit. */
export function scopedUserId(scope: Scope): string | null {
  return scope === 'everything' ? null : scope.userId;
}
