import { z } from 'zod';

/** PostgreSQL's `text` and `jsonb` refuse NUL; `jsonb` refuses lone surrogates as well. */
export function toStorableText(text: string): string {
  return text.toWellFormed().replaceAll('\u0000', '\uFFFD');
}

/** The same for every string in a JSON value, keys included. */
export function toStorableJson(value: unknown): unknown {
  if (typeof value === 'string') return toStorableText(value);
  if (Array.isArray(value)) return value.map(toStorableJson);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, inner]) => [toStorableText(key), toStorableJson(inner)]),
  );
}

/** Cuts to `maxBytes` of UTF-8 without splitting a character. */
export function truncateUtf8(text: string, maxBytes: number): string {
  const bytes = new TextEncoder().encode(text);
  if (bytes.length <= maxBytes) return text;
  let end = maxBytes;
  while (end > 0 && ((bytes[end] ?? 0) & 0xc0) === 0x80) end -= 1;
  return new TextDecoder().decode(bytes.subarray(0, end));
}

/** Text from outside that is made storable rather than refused, and cut to `maxBytes` of UTF-8. */
export function storableText(maxBytes: number): z.ZodType<string, string> {
  return z.string().transform((text) => truncateUtf8(toStorableText(text), maxBytes));
}
