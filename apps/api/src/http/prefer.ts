const MAX_WAIT_SECONDS = 60;
const WAIT = /(?:^|[\s,;])wait\s*=\s*"?(\d{1,9})"?(?=$|[\s,;])/i;

/** Seconds of `Prefer: wait=N` (RFC 7240), at most 60; a preference that cannot be read is ignored. */
export function parsePreferredWait(header: string | undefined): number | undefined {
  const seconds = WAIT.exec(header ?? '')?.[1];
  return seconds === undefined ? undefined : Math.min(Number(seconds), MAX_WAIT_SECONDS);
}
