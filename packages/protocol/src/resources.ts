import { z } from 'zod';
import { cpuQuantitySchema, memoryQuantitySchema } from './quantity.ts';

/** What a session may use. */
export const resourcesSchema = z
  .strictObject({ cpu: cpuQuantitySchema.optional(), memory: memoryQuantitySchema.optional() })
  .meta({ id: 'Resources' });

export type Resources = z.infer<typeof resourcesSchema>;

/** What an agent has for sessions. What is absent does not limit. */
export const capacitySchema = z
  .object({
    maxSessions: z.int().min(0).max(1_000_000).optional(),
    cpu: z.string().max(64).optional(),
    memory: z.string().max(64).optional(),
  })
  .meta({ id: 'Capacity' });

export type Capacity = z.infer<typeof capacitySchema>;

const MAX_ENV_BYTES = 32_768;

/** Environment variables for the session's process. */
export const envSchema = z
  .record(
    z.string().regex(/^[A-Za-z_][A-Za-z0-9_]{0,127}$/, 'is a variable name'),
    z.string().refine((value) => !value.includes('\u0000'), 'holds no NUL'),
  )
  .refine(
    (env) => JSON.stringify(env).length <= MAX_ENV_BYTES,
    `takes at most ${MAX_ENV_BYTES} bytes as JSON`,
  );
