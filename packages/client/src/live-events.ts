import { liveEventSchema, type LiveEvent } from '@streamspace/protocol';
import type { HttpCaller } from './http-caller.ts';
import { ProblemError } from './problem-error.ts';
import { parseSse, type SseBlock } from './sse-parser.ts';

export interface EventsOptions {
  readonly types?: readonly LiveEvent['type'][];
  /** Where an earlier stream ended. */
  readonly lastEventId?: string | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** `open`: what happens from here on is told. `reset`: something may be missing, load afresh. */
export type Notice =
  | { readonly type: 'open' | 'reset'; readonly id: string | undefined }
  | { readonly type: 'event'; readonly id: string | undefined; readonly event: LiveEvent };

const FIRST_RETRY_MS = 500;
const MAX_RETRY_MS = 10_000;

/**
 * Live events for ever: connects again where it was cut, at any replica, and goes on after the last
 * event. Ends with the signal; throws when the server refuses the token or the request.
 */
export async function* liveEvents(
  caller: HttpCaller,
  options: EventsOptions = {},
): AsyncGenerator<Notice> {
  const { signal } = options;
  let { lastEventId } = options;
  for await (const block of readForEver(caller, options, () => lastEventId)) {
    const isOpening = lastEventId === undefined && block.id !== undefined;
    lastEventId = block.id ?? lastEventId;
    if (isOpening) yield { type: 'open', id: lastEventId };
    const notice = toNotice(block);
    if (notice) yield notice;
    if (signal?.aborted) return;
  }
}

async function* readForEver(
  caller: HttpCaller,
  options: EventsOptions,
  lastEventId: () => string | undefined,
): AsyncGenerator<SseBlock> {
  const isOver = (): boolean => options.signal?.aborted === true;
  for (let failures = 0; !isOver(); failures += 1) {
    try {
      for await (const block of readStream(caller, options, lastEventId())) {
        failures = 0;
        yield block;
      }
    } catch (error) {
      if (isFinal(error)) throw error;
    }
    const limitMs = Math.min(MAX_RETRY_MS, FIRST_RETRY_MS * 2 ** failures);
    if (!isOver()) await pause(Math.random() * limitMs, options.signal);
  }
}

async function* readStream(
  caller: HttpCaller,
  { types, signal }: EventsOptions,
  lastEventId: string | undefined,
): AsyncGenerator<SseBlock> {
  const response = await caller.send(
    { path: ['events'], query: { types: types?.join(',') }, signal },
    lastEventId === undefined ? {} : { 'last-event-id': lastEventId },
  );
  if (response.body) yield* parseSse(response.body);
}

/** Types that this version does not know are passed over. */
function toNotice({ id, event, data }: SseBlock): Notice | undefined {
  if (event === 'reset') return { type: 'reset', id };
  if (event === '') return undefined;
  const parsed = liveEventSchema.safeParse(JSON.parse(data));
  return parsed.success ? { type: 'event', id, event: parsed.data } : undefined;
}

/** Refused for what it is; anything else passes. */
function isFinal(error: unknown): boolean {
  return error instanceof ProblemError && error.status < 500 && error.status !== 429;
}

/** Ends early with the signal. Without Node's own timers, so that browsers can use it. */
async function pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
  await new Promise<void>((resolve) => {
    const end = (): void => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', end);
      resolve();
    };
    const timer = setTimeout(end, ms);
    signal?.addEventListener('abort', end);
  });
}
