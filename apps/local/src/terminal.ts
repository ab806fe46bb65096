import type { LocalStack, ProcessEvent, ProcessExit } from '@streamspace/local-stack';

export type Print = (line: string) => void;

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`;
}

function howItEnded({ code, signal }: ProcessExit): string {
  return signal === null ? `ended with code ${code}` : `was killed by ${signal}`;
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** One line for what a reader of the terminal should know, empty for the rest. */
export function describeEvent(event: ProcessEvent): string {
  const { name } = event;
  let line = '';
  switch (event.kind) {
    case 'ready':
      line = `  ${name} is up (pid ${event.pid}, ${seconds(event.ms)})`;
      break;
    case 'exited':
      line = `  ${name} (pid ${event.exit.pid}) ${howItEnded(event.exit)}`;
      break;
    case 'restarting':
      line = `  starting ${name} again`;
      break;
    case 'start-failed':
      line = `  ${name} did not start: ${messageOf(event.error)}`;
      break;
    case 'spawned':
      break;
  }
  return line;
}

function withoutPassword(url: string): string {
  const parsed = new URL(url);
  if (parsed.password !== '') parsed.password = '***';
  return parsed.href;
}

function processLines(stack: LocalStack): string[] {
  const { replicas, loadBalancer, agent } = stack;
  const kind = loadBalancer?.kind === 'haproxy' ? 'HAProxy' : 'built in, HAProxy is not installed';
  return [
    `  load balancer  ${stack.url}  (${kind})`,
    ...replicas.map(({ name, url, process: { pid } }) => `  ${name}          ${url}  (pid ${pid})`),
    ...(agent ? [`  agent          ${agent.agentId}  (pid ${agent.process.pid})`] : []),
    `  PostgreSQL     ${withoutPassword(stack.databaseUrl)}`,
    `  Redis          ${withoutPassword(stack.redisUrl)}`,
  ];
}

/** What runs where, and commands that work when they are pasted into another terminal. */
export function describeStack(stack: LocalStack, stateDir: string): string {
  const { url, adminToken } = stack;
  const authorization = `-H 'Authorization: Bearer ${adminToken}'`;
  return [
    '',
    `StreamSpace runs at ${url}`,
    '',
    ...processLines(stack),
    `  logs           ${stateDir}/logs/`,
    '',
    `Admin token: ${adminToken}`,
    '',
    '# start a session',
    `curl -s -X POST ${url}/api/v1/sessions ${authorization} -H 'Content-Type: application/json' -d '{"template":"hello-web"}'`,
    '# list the sessions',
    `curl -s ${url}/api/v1/sessions ${authorization}`,
    '# watch what happens',
    `curl -sN ${url}/api/v1/events ${authorization}`,
    '',
    'Ctrl-C stops everything.',
    '',
  ].join('\n');
}
