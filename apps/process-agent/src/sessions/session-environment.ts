import type { StartPayload } from '@streamspace/protocol';

const DEFAULT_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

export interface EnvironmentInput {
  readonly sessionId: string;
  readonly generation: number;
  readonly spec: StartPayload;
  readonly runtimeId: string;
  readonly host: string;
  readonly home: string;
  readonly ports: readonly { readonly name: string; readonly port: number }[];
  readonly display: number | null;
  /** The agent's own. */
  readonly path: string | undefined;
}

/** By these a process is known as this session's, also when the agent that started it has forgotten it. */
export function markerOf({
  runtimeId,
  sessionId,
  generation,
}: {
  runtimeId: string;
  sessionId: string;
  generation?: number;
}): string[] {
  return [
    `STREAMSPACE_RUNTIME=${runtimeId}`,
    `STREAMSPACE_SESSION_ID=${toValue(sessionId)}`,
    ...(generation === undefined ? [] : [`STREAMSPACE_GENERATION=${generation}`]),
  ];
}

/**
 * All that a session's process gets to see: nothing of the agent's own environment but its PATH. The
 * template's variables first, the user's over them, and what names the session over both.
 */
export function environmentOf(input: EnvironmentInput): Record<string, string> {
  const { sessionId, generation, spec, runtimeId, host, home, ports, display } = input;
  return {
    PATH: input.path ?? DEFAULT_PATH,
    LANG: 'C.UTF-8',
    HOME: home,
    ...spec.platform.env,
    ...spec.env,
    STREAMSPACE_RUNTIME: runtimeId,
    STREAMSPACE_SESSION_ID: toValue(sessionId),
    STREAMSPACE_GENERATION: String(generation),
    STREAMSPACE_TEMPLATE: toValue(spec.template),
    STREAMSPACE_USER_ID: toValue(spec.userId),
    // Where it is to listen: under its own name, and under the one that many servers know.
    SESSION_HOST: host,
    HOST: host,
    PORT: String(ports[0]?.port),
    ...Object.fromEntries(ports.map(({ name, port }) => [variableFor(name), String(port)])),
    ...(display !== null && { DISPLAY_NUMBER: String(display) }),
  };
}

/** An environment holds neither NUL nor half a character. */
function toValue(text: string): string {
  return text.replaceAll('\u0000', '\uFFFD').toWellFormed();
}

function variableFor(portName: string): string {
  return `PORT_${portName.toUpperCase().replaceAll(/[^A-Z0-9]/g, '_')}`;
}
