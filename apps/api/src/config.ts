import { hostname } from 'node:os';
import { z } from 'zod';

const DAY_SECONDS = 86_400;

const seconds = z.coerce
  .number()
  .min(0)
  .max(365 * DAY_SECONDS);
const port = z.coerce.number().int().min(0).max(65_535);
const count = z.coerce.number().int().min(1);

/** Set to nothing is not set: that is how compose files and charts leave a variable out. */
const environmentSchema = z.object({
  HOST: z.string().default('0.0.0.0'),
  PORT: port.default(8080),
  INTERNAL_PORT: port.optional(),
  DATABASE_URL: z.url({ protocol: /^postgres(ql)?$/ }),
  DATABASE_POOL_SIZE: count.max(500).default(20),
  REDIS_URL: z.url({ protocol: /^rediss?$/ }),
  REDIS_PREFIX: z
    .string()
    .regex(/^[\w-]{1,64}$/)
    .default('ss'),
  REPLICA_NAME: z.string().min(1).max(255).default(hostname()),
  INTERNAL_URL: z.url({ protocol: /^https?$/ }).optional(),
  STREAMSPACE_ADMIN_TOKEN: z
    .string()
    .max(512)
    .regex(/^[\w\-.~+/]+=*$/, 'is a bearer token: letters, digits and -._~+/')
    .optional(),
  LOG_LEVEL: z.enum(['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent']).default('info'),
  TRUST_PROXY: z.string().default('loopback, linklocal, uniquelocal'),
  MAX_QUEUED_PER_AGENT: count.default(1000),
  COMMAND_EXPIRES_IN: seconds.default(DAY_SECONDS),
  AGENT_LOST_AFTER: seconds.default(DAY_SECONDS),
  AGENT_WINDOW: count.max(1000).default(32),
  HELLO_RATE: count.default(200),
  DRAIN_DELAY: seconds.default(5),
  DRAIN_WINDOW: seconds.default(20),
  DRAIN_DEADLINE: seconds.default(90),
});

/** Times are in milliseconds here; in the environment they are seconds. */
export interface Config {
  readonly http: {
    readonly host: string;
    readonly port: number;
    /** undefined: health and metrics are on the public port. */
    readonly internalPort: number | undefined;
    readonly trustProxy: string;
  };
  readonly database: { readonly url: string; readonly poolSize: number };
  readonly redis: { readonly url: string; readonly prefix: string };
  readonly replica: { readonly name: string; readonly address: string | null };
  readonly adminToken: string | undefined;
  readonly logLevel: string;
  readonly queue: { readonly maxQueuedPerAgent: number; readonly expiresInMs: number };
  readonly agents: {
    readonly lostAfterMs: number;
    readonly window: number;
    readonly helloRatePerSecond: number;
  };
  readonly drain: {
    /** Until the load balancer has seen that this replica is not ready. */
    readonly delayMs: number;
    /** Over which agents are told to move. */
    readonly windowMs: number;
    /** From the signal to the end, whatever is left. */
    readonly deadlineMs: number;
  };
}

/** Turns the environment into a config, or throws naming every variable that is wrong, without its value. */
export function loadConfig(env: NodeJS.ProcessEnv): Config {
  const given = Object.fromEntries(Object.entries(env).filter(([, value]) => value !== ''));
  const parsed = environmentSchema.safeParse(given);
  if (!parsed.success) throw new Error(`invalid configuration\n${describe(parsed.error)}`);
  return toConfig(parsed.data);
}

function describe(error: z.ZodError): string {
  return error.issues.map((issue) => `  ${issue.path.join('.')}: ${issue.message}`).join('\n');
}

function toConfig(env: z.infer<typeof environmentSchema>): Config {
  return {
    http: {
      host: env.HOST,
      port: env.PORT,
      internalPort: env.INTERNAL_PORT,
      trustProxy: env.TRUST_PROXY,
    },
    database: { url: env.DATABASE_URL, poolSize: env.DATABASE_POOL_SIZE },
    redis: { url: env.REDIS_URL, prefix: env.REDIS_PREFIX },
    replica: { name: env.REPLICA_NAME, address: env.INTERNAL_URL ?? null },
    adminToken: env.STREAMSPACE_ADMIN_TOKEN,
    logLevel: env.LOG_LEVEL,
    queue: {
      maxQueuedPerAgent: env.MAX_QUEUED_PER_AGENT,
      expiresInMs: Math.round(env.COMMAND_EXPIRES_IN * 1000),
    },
    agents: {
      lostAfterMs: Math.round(env.AGENT_LOST_AFTER * 1000),
      window: env.AGENT_WINDOW,
      helloRatePerSecond: env.HELLO_RATE,
    },
    drain: {
      delayMs: Math.round(env.DRAIN_DELAY * 1000),
      windowMs: Math.round(env.DRAIN_WINDOW * 1000),
      deadlineMs: Math.round(env.DRAIN_DEADLINE * 1000),
    },
  };
}
