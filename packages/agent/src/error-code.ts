/** True for an error with this `code`; `instanceof Error` would fail for errors of another realm. */
export function hasErrorCode(error: unknown, code: string): boolean {
  return typeof error === 'object' && error !== null && 'code' in error && error.code === code;
}
