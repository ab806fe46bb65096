import {
  envSchema,
  parseCpuMillis,
  parseMemoryBytes,
  type CreateSession,
  type Resources,
  type StartPayload,
  type Template,
} from '@streamspace/protocol';
import type { Requirements } from './agent-fit.ts';
import { SessionError } from './errors.ts';

/** A request and its template put together: what the agent must have, and what it is told on each platform. */
export interface StartPlan {
  readonly requirements: Requirements;
  readonly resources: Resources;
  readonly payloads: ReadonlyMap<string, StartPayload>;
}

/** Throws `platform_not_supported`, `resources_too_large`, `environment_too_large`. */
export function planStart(request: CreateSession, template: Template, userId: string): StartPlan {
  const platforms = Object.keys(template.platforms).filter(
    (platform) => request.platform === undefined || platform === request.platform,
  );
  if (platforms.length === 0)
    throw new SessionError(
      'platform_not_supported',
      `Template '${template.name}' does not run on platform '${request.platform ?? ''}'.`,
    );
  const resources = { ...template.resources, ...request.resources };
  const payloads = platforms.map(
    (platform) =>
      [platform, toPayload({ request, template, userId, platform, resources })] as const,
  );
  return {
    requirements: {
      platforms,
      region: request.region,
      labels: { ...template.agentLabels, ...request.labels },
      cpuMillis: parseCpuMillis(resources.cpu ?? '0') ?? 0,
      memoryBytes: toBytes(resources.memory),
    },
    resources,
    payloads: new Map(payloads),
  };
}

function toBytes(memory: string | undefined): number {
  const bytes = parseMemoryBytes(memory ?? '0');
  if (bytes === undefined)
    throw new SessionError('resources_too_large', 'Memory goes up to 2^53 - 1 bytes.');
  return bytes;
}

interface PayloadParts {
  readonly request: CreateSession;
  readonly template: Template;
  readonly userId: string;
  readonly platform: string;
  readonly resources: Resources;
}

function toPayload({ request, template, userId, platform, resources }: PayloadParts): StartPayload {
  const spec = template.platforms[platform];
  if (!spec) throw new Error(`template '${template.name}' has no platform '${platform}'`);
  const env = envSchema.safeParse({ ...spec.env, ...request.env });
  if (!env.success)
    throw new SessionError(
      'environment_too_large',
      'The environment of template and request together is too large.',
    );
  return {
    template: template.name,
    userId,
    name: request.name ?? null,
    protocol: template.protocol,
    ports: template.ports,
    platform: spec,
    resources,
    env: env.data,
  };
}
