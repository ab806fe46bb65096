import { setTimeout as delay } from 'node:timers/promises';
import type { Client } from '@streamspace/client';
import type { Command } from '@streamspace/protocol';
import type { DevSystem } from './dev-system.ts';
import { observed, timed, type Step } from './steps.ts';

const POLL_MS = 20;
const GIVE_UP_MS = 90_000;
/** As many as the Go control plane had when it lost them. */
const BACKLOG = 37;

/**
 * The story that this control plane was made for: a session is started through a replica that does not
 * hold the agent; the agent is killed; what is asked of it meanwhile is accepted, waits, and is carried
 * out in order when it is back.
 */
export async function playStory(
  system: DevSystem,
  say: (line: string) => void,
): Promise<readonly Step[]> {
  const { owner, clients, names } = await system.foreignReplicas();
  say(`agent ${system.agentId} is connected to ${owner}; requests go to ${names.join(', ')}`);
  const [first, second = first] = clients;
  if (!first || !second) throw new Error('the story needs at least two replicas');
  const started = await startSession(first, second);
  say(`session ${started.sessionId} runs; killing the agent`);
  return [
    ...started.steps,
    ...(await stopWhileDown(system, first, started.sessionId)),
    ...(await deliverBacklog(system, clients)),
  ];
}

async function startSession(
  first: Client,
  second: Client,
): Promise<{ sessionId: string; steps: readonly Step[] }> {
  const createdAt = performance.now();
  const { session } = await first.sessions.create({ template: 'hello-web' });
  const answered = secondsSince(createdAt);
  const running = await until(
    () => second.sessions.get(session.id),
    ({ state }) => state === 'running' || state === 'failed',
  );
  return {
    sessionId: session.id,
    steps: [
      observed(
        'session created through a foreign replica',
        '202, pending',
        `202, ${session.state}, ${answered.toFixed(2)} s`,
        session.state === 'pending',
      ),
      {
        ...timed('session started', secondsSince(createdAt), 60, running.error?.message),
        ...(running.state === 'failed' && { isMet: false }),
      },
    ],
  };
}

async function stopWhileDown(
  system: DevSystem,
  client: Client,
  sessionId: string,
): Promise<readonly Step[]> {
  const letAgentBack = system.keepAgentDown();
  try {
    const away = await until(
      () => client.agents.get(system.agentId),
      ({ state }) => state !== 'online',
    );
    const stoppedAt = performance.now();
    const { session, command } = await client.sessions.stop(sessionId);
    const queued = await client.commands.get(command?.id ?? '');
    letAgentBack();
    const releasedAt = performance.now();
    const backIn = await untilOnline(system, client, releasedAt);
    const delivered = await until(() => client.commands.get(queued.id), hasEnded);
    const deliveredIn = secondsSince(releasedAt);
    await until(
      () => client.sessions.get(sessionId),
      ({ state }) => state === 'terminated',
    );
    return [
      observed(
        'stop while the agent is down',
        '202',
        `202, ${session.state}, agent ${away.state}`,
        true,
      ),
      observed(
        'queued, error_message',
        'pending, null',
        `${queued.status}, ${String(queued.errorMessage)}`,
        queued.status === 'pending' && queued.errorMessage === null,
      ),
      timed('agent back', backIn, 30),
      observed(
        'pending command delivered',
        'completed',
        `${delivered.status}, attempt ${delivered.attempt}, ${deliveredIn.toFixed(2)} s`,
        delivered.status === 'completed',
      ),
      timed('session gone', secondsSince(stoppedAt), 60),
    ];
  } finally {
    letAgentBack();
  }
}

async function deliverBacklog(
  system: DevSystem,
  clients: readonly Client[],
): Promise<readonly Step[]> {
  const [client] = clients;
  if (!client) return [];
  const letAgentBack = system.keepAgentDown();
  try {
    await until(
      () => client.agents.get(system.agentId),
      ({ state }) => state !== 'online',
    );
    const queued: Command[] = [];
    for (let index = 0; index < BACKLOG; index += 1) {
      const through = clients[index % clients.length] ?? client;
      queued.push(await through.agents.command(system.agentId, 'ping'));
    }
    letAgentBack();
    const releasedAt = performance.now();
    const backIn = await untilOnline(system, client, releasedAt);
    const ended = await Promise.all(
      queued.map(({ id }) => until(() => client.commands.get(id), hasEnded)),
    );
    const endedIn = secondsSince(releasedAt);
    const completed = ended.filter(({ status }) => status === 'completed');
    return [
      timed(`agent back to ${BACKLOG} commands`, backIn, 30),
      observed(
        'backlog carried out, in order',
        `${BACKLOG} of ${BACKLOG}, < 60 s`,
        `${completed.length} of ${BACKLOG}${areInOrder(ended) ? ', in order' : ', NOT in order'}, ${endedIn.toFixed(2)} s`,
        completed.length === BACKLOG && areInOrder(ended) && endedIn < 60,
      ),
    ];
  } finally {
    letAgentBack();
  }
}

/** By what the agent says of when it carried each out. */
function areInOrder(commands: readonly Command[]): boolean {
  const times = commands.map(({ result }) =>
    typeof result === 'object' && result !== null && 'at' in result ? String(result.at) : '',
  );
  return times.every((time, index) => time !== '' && time >= (times[index - 1] ?? ''));
}

async function untilOnline(system: DevSystem, client: Client, since: number): Promise<number> {
  await until(
    () => client.agents.get(system.agentId),
    ({ state }) => state === 'online',
  );
  return secondsSince(since);
}

function hasEnded({ completedAt }: Command): boolean {
  return completedAt !== null;
}

async function until<T>(look: () => Promise<T>, isSo: (found: T) => boolean): Promise<T> {
  const startedAt = performance.now();
  for (;;) {
    const found = await look();
    if (isSo(found)) return found;
    if (performance.now() - startedAt > GIVE_UP_MS)
      throw new Error(`not so after ${GIVE_UP_MS / 1000} s: ${JSON.stringify(found)}`);
    await delay(POLL_MS);
  }
}

function secondsSince(start: number): number {
  return (performance.now() - start) / 1000;
}
