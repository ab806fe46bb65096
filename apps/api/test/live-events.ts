import type { Notice } from '@streamspace/client';

/** One raw event stream, read block by block. */
export interface TestStream {
  /** Blocks so far, without keep-alives and ids alone. */
  readonly events: readonly StreamEvent[];
  /** Ids alone as well. */
  readonly ids: readonly string[];
  readonly isOver: () => boolean;
  close(): void;
}

export interface StreamEvent {
  readonly id: string;
  readonly event: string;
  readonly data: Record<string, Record<string, unknown>>;
}

export async function openStream(
  url: string,
  { token, lastEventId, query = '' }: { token: string; lastEventId?: string; query?: string },
): Promise<TestStream> {
  const abort = new AbortController();
  const response = await fetch(`${url}/api/v1/events${query}`, {
    headers: {
      authorization: `Bearer ${token}`,
      ...(lastEventId !== undefined && { 'last-event-id': lastEventId }),
    },
    signal: abort.signal,
  });
  if (response.status !== 200) throw new Error(`${response.status}: ${await response.text()}`);
  const events: StreamEvent[] = [];
  const ids: string[] = [];
  let isOver = false;
  void read(response.body!, events, ids).finally(() => {
    isOver = true;
  });
  return { events, ids, isOver: () => isOver, close: () => abort.abort() };
}

async function read(
  body: ReadableStream<Uint8Array>,
  events: StreamEvent[],
  ids: string[],
): Promise<void> {
  const decoder = new TextDecoder();
  let rest = '';
  try {
    for await (const chunk of body) {
      rest += decoder.decode(chunk, { stream: true });
      const blocks = rest.split('\n\n');
      rest = blocks.pop() ?? '';
      for (const block of blocks) take(block, events, ids);
    }
  } catch {
    // Closed by the test, or cut by the server.
  }
}

function take(block: string, events: StreamEvent[], ids: string[]): void {
  const field = (name: string) => new RegExp(`^${name}: (.*)$`, 'm').exec(block)?.[1];
  const id = field('id') ?? '';
  if (id !== '') ids.push(id);
  const event = field('event');
  if (event !== undefined)
    events.push({ id, event, data: JSON.parse(field('data') ?? '{}') as StreamEvent['data'] });
}

/** The next notices of a client until one is as it should be. */
export async function takeUntil(
  notices: AsyncGenerator<Notice>,
  isLast: (notice: Notice) => boolean,
): Promise<readonly Notice[]> {
  const taken: Notice[] = [];
  for (;;) {
    const next = await notices.next();
    if (next.done) return taken;
    taken.push(next.value);
    if (isLast(next.value)) return taken;
  }
}
