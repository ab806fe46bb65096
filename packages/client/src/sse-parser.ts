/** One block of a server-sent event stream; `event` and `data` are empty where it only moves the id. */
export interface SseBlock {
  readonly id: string | undefined;
  readonly event: string;
  readonly data: string;
  readonly retryMs: number | undefined;
}

/** https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation */
export async function* parseSse(body: ReadableStream<Uint8Array>): AsyncGenerator<SseBlock> {
  const decoder = new TextDecoder();
  // Not every browser can iterate a stream.
  const reader = body.getReader();
  let rest = '';
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      rest += decoder.decode(value, { stream: true });
      const blocks = rest.split(/\r?\n\r?\n/);
      rest = blocks.pop() ?? '';
      for (const block of blocks) yield parseBlock(block);
    }
  } finally {
    await reader.cancel().catch(() => undefined);
  }
}

function parseBlock(block: string): SseBlock {
  const fields = new Map<string, string>();
  for (const line of block.split(/\r?\n/)) {
    const [, name = '', value = ''] = /^([^:]*):? ?(.*)$/s.exec(line) ?? [];
    if (name === '') continue;
    const before = fields.get(name);
    fields.set(name, name === 'data' && before !== undefined ? `${before}\n${value}` : value);
  }
  const retry = fields.get('retry');
  return {
    id: fields.get('id'),
    event: fields.get('event') ?? '',
    data: fields.get('data') ?? '',
    retryMs: retry !== undefined && /^\d+$/.test(retry) ? Number(retry) : undefined,
  };
}
