import { labelsSchema, nameSchema, type Labels } from '@streamspace/protocol';
import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { Secret } from './secret.ts';

const LEVELS = ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'] as const;

const labelListSchema = z
  .string()
  .transform((text, context) => {
    const pairs = text.split(',').flatMap((part) => (part.trim() === '' ? [] : [part.trim()]));
    const wrong = pairs.filter((pair) => !pair.includes('='));
    for (const pair of wrong) context.addIssue({ code: 'custom', message: `"${pair}" is no k=v` });
    return Object.fromEntries(
      pairs.map((pair) => [
        pair.slice(0, pair.indexOf('=')).trim(),
        pair.slice(pair.indexOf('=') + 1).trim(),
      ]),
    );
  })
  .pipe(labelsSchema);

/** An empty variable is one that is not set. */
const optional = <Schema extends z.ZodType>(
  schema: Schema,
): z.ZodType<z.output<Schema> | undefined> =>
  z.preprocess((value) => (value === '' ? undefined : value), schema.optional());

const environmentSchema = z
  .object({
    STREAMSPACE_URL: z.url({
      protocol: /^https?$/,
      error: 'is the control plane’s address: https://...',
    }),
    AGENT_ID: nameSchema,
    AGENT_KEY: optional(z.string().min(1).max(512)),
    AGENT_KEY_FILE: optional(z.string()),
    AGENT_DATA_DIR: optional(z.string()),
    AGENT_REGION: optional(nameSchema),
    AGENT_LABELS: optional(labelListSchema),
    MAX_SESSIONS: optional(z.coerce.number().int().min(0).max(1_000_000)),
    SESSION_HOST: optional(z.string().max(255)),
    LOG_LEVEL: optional(z.enum(LEVELS)),
    PATH: z.string().optional(),
  })
  .refine((env) => env.AGENT_KEY !== undefined || env.AGENT_KEY_FILE !== undefined, {
    path: ['AGENT_KEY'],
    message: 'is missing: set AGENT_KEY or AGENT_KEY_FILE',
    when: () => true,
  });

export interface Config {
  readonly url: string;
  readonly agentId: string;
  readonly key: Secret;
  readonly dataDir: string;
  readonly region: string | undefined;
  readonly labels: Labels;
  readonly maxSessions: number;
  readonly sessionHost: string;
  readonly logLevel: (typeof LEVELS)[number];
  /** Where commands are found, for the agent and its sessions. */
  readonly path: string | undefined;
}

/** Turns the environment into a typed config, or throws naming every variable that is wrong. */
export function loadConfig(env: NodeJS.ProcessEnv): Config {
  const parsed = environmentSchema.safeParse(env);
  if (!parsed.success) throw new Error(`invalid configuration\n${z.prettifyError(parsed.error)}`);
  const values = parsed.data;
  return {
    url: values.STREAMSPACE_URL,
    agentId: values.AGENT_ID,
    key: new Secret(values.AGENT_KEY ?? readKey(values.AGENT_KEY_FILE ?? '')),
    dataDir: values.AGENT_DATA_DIR ?? '.streamspace/process-agent',
    region: values.AGENT_REGION,
    labels: values.AGENT_LABELS ?? {},
    maxSessions: values.MAX_SESSIONS ?? 20,
    sessionHost: values.SESSION_HOST ?? '127.0.0.1',
    logLevel: values.LOG_LEVEL ?? 'info',
    path: values.PATH,
  };
}

function readKey(path: string): string {
  let key: string;
  try {
    key = readFileSync(path, 'utf8').trim();
  } catch (cause) {
    throw new Error(`invalid configuration\nAGENT_KEY_FILE: ${path} cannot be read`, { cause });
  }
  if (key === '') throw new Error(`invalid configuration\nAGENT_KEY_FILE: ${path} is empty`);
  return key;
}
