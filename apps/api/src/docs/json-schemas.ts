import { z } from 'zod';

export type JsonSchema = Readonly<Record<string, unknown>>;

const DEFINITIONS = '#/$defs/';
const COMPONENTS = '#/components/schemas/';

/**
 * JSON Schemas of the zod schemas that validate: named ones (`.meta({id})`) become components, and
 * are referred to. As they are taken in: an answer may carry fields that a client does not know.
 */
export class JsonSchemas {
  readonly components: Record<string, JsonSchema> = {};

  of(schema: z.ZodType): JsonSchema {
    const generated: unknown = JSON.parse(
      JSON.stringify(z.toJSONSchema(schema, { io: 'input', target: 'draft-2020-12' })),
    );
    const { $schema: _dialect, $defs, ...root } = toRecord(point(generated));
    for (const [id, definition] of Object.entries(toRecord($defs)))
      this.components[id] = toRecord(definition);
    return root;
  }
}

/** Moves references from the schema's own definitions to the document's components. */
function point(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(point);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, inner]) => [
      key,
      key === '$ref' && typeof inner === 'string'
        ? inner.replace(DEFINITIONS, COMPONENTS)
        : point(inner),
    ]),
  );
}

function toRecord(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null
    ? Object.fromEntries(Object.entries(value))
    : {};
}
