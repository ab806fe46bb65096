import { pageOf, sessionSchema, type SessionState } from '@streamspace/protocol';

export interface EndSessionsOptions {
  readonly url: string;
  readonly adminToken: string;
  readonly agentId: string;
}

/** The states in which a session has processes. */
const ALIVE: ReadonlySet<SessionState> = new Set([
  'pending',
  'starting',
  'running',
  'hibernating',
  'waking',
]);
const PAGE_SIZE = 200;
const WAIT_SECONDS = 5;
const REQUEST_TIMEOUT_MS = 8_000;

const pageSchema = pageOf(sessionSchema.pick({ id: true, state: true }));

/** Ends the agent's sessions through the API and waits a moment for it. Returns how many were asked to end. */
export async function endSessions(options: EndSessionsOptions): Promise<number> {
  const { url, adminToken, agentId } = options;
  const headers = { authorization: `Bearer ${adminToken}`, connection: 'close' };
  const list = new URL(`${url}/api/v1/sessions`);
  list.search = new URLSearchParams({ agentId, limit: String(PAGE_SIZE) }).toString();
  const ids: string[] = [];
  for (;;) {
    const response = await fetch(list, {
      headers,
      signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS),
    });
    const { items, nextCursor } = pageSchema.parse(await response.json());
    ids.push(...items.filter(({ state }) => ALIVE.has(state)).map(({ id }) => id));
    if (nextCursor === null) break;
    list.searchParams.set('cursor', nextCursor);
  }
  const answers = ids.map(async (id) => {
    const response = await fetch(`${url}/api/v1/sessions/${id}`, {
      method: 'DELETE',
      headers: { ...headers, prefer: `wait=${WAIT_SECONDS}` },
      signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS),
    });
    await response.body?.cancel();
  });
  await Promise.all(answers);
  return ids.length;
}
