/**
 * Where a client is in the live events: `<generation>-<stream id>[.<index>]`. A stream entry holds
 * several events; with an index the client has seen the entry up to it, without it the whole entry.
 * The generation is the stream's: after Redis was emptied, ids of before say nothing.
 */
export interface EventId {
  readonly generation: string;
  readonly streamId: string;
  readonly index: number | undefined;
}

const EVENT_ID = /^([0-9a-f]{16})-(\d{1,19}-\d{1,19})(?:\.(\d{1,6}))?$/;

export function parseEventId(text: string): EventId | undefined {
  const match = EVENT_ID.exec(text);
  if (!match) return undefined;
  const [, generation = '', streamId = '', index] = match;
  return { generation, streamId, index: index === undefined ? undefined : Number(index) };
}

export function formatEventId({ generation, streamId, index }: EventId): string {
  return `${generation}-${streamId}${index === undefined ? '' : `.${index}`}`;
}

/** Negative, 0 or positive, as for `sort`; both parts are numbers, not text. */
export function compareStreamIds(a: string, b: string): number {
  const [aTime = 0n, aCount = 0n] = a.split('-').map(BigInt);
  const [bTime = 0n, bCount = 0n] = b.split('-').map(BigInt);
  if (aTime !== bTime) return aTime < bTime ? -1 : 1;
  if (aCount !== bCount) return aCount < bCount ? -1 : 1;
  return 0;
}
