import type { z } from 'zod';
import type { FieldError } from './api-error.ts';

/** How the place of a wrong field is written: a JSON pointer, `?name`, `:name`. */
export type Place = 'body' | 'query' | 'params';

const MAX_ERRORS = 50;

/** The value as the schema has it, or the wrong fields. */
export function validate<Schema extends z.ZodType>(
  schema: Schema,
  value: unknown,
  place: Place,
): { readonly value: z.infer<Schema> } | { readonly errors: readonly FieldError[] } {
  const parsed = schema.safeParse(value);
  if (!parsed.success)
    return {
      errors: parsed.error.issues
        .flatMap((issue) => toFieldErrors(issue, place))
        .slice(0, MAX_ERRORS),
    };
  // After the schema has bounded how deep and how much there is.
  const unstorable = findUnstorable(parsed.data, []);
  if (unstorable)
    return {
      errors: [
        { pointer: toPointer(unstorable, place), detail: 'holds NUL or half a character pair' },
      ],
    };
  return { value: parsed.data };
}

type Path = readonly PropertyKey[];

function toFieldErrors(issue: z.core.$ZodIssue, place: Place): readonly FieldError[] {
  if (issue.code === 'unrecognized_keys')
    return issue.keys.map((key) => ({
      pointer: toPointer([...issue.path, key], place),
      detail: 'is not a known field',
    }));
  const inner = issue.code === 'invalid_key' ? issue.issues[0]?.message : undefined;
  return [{ pointer: toPointer(issue.path, place), detail: inner ?? issue.message }];
}

function toPointer(path: Path, place: Place): string {
  const parts = path.map((part) => String(part).toWellFormed());
  if (place === 'query') return `?${parts.join('.')}`;
  if (place === 'params') return `:${parts.join('.')}`;
  return parts.map((part) => `/${part.replaceAll('~', '~0').replaceAll('/', '~1')}`).join('');
}

/** PostgreSQL stores neither NUL nor a lone surrogate: the path of the first text that has one. */
function findUnstorable(value: unknown, path: Path): Path | undefined {
  if (typeof value === 'string')
    return value.includes('\u0000') || !value.isWellFormed() ? path : undefined;
  if (typeof value !== 'object' || value === null) return undefined;
  for (const [key, inner] of Object.entries(value)) {
    const innerPath = [...path, key];
    const found = findUnstorable(key, innerPath) ?? findUnstorable(inner, innerPath);
    if (found) return found;
  }
  return undefined;
}
