import { waitUntil } from '@streamspace/local-stack';
import { type LedgerEntry, sessionsOf } from '../ledger/ledger.ts';
import type { TestDatabase } from '../test-database.ts';
import type { AgentHost } from './agent-host.ts';
import type { ClusterAgent } from './cluster-agent.ts';
import type { ClusterProcess } from './cluster-process.ts';

export interface InvariantViolation {
  readonly invariant: 'I1' | 'I2' | 'I3' | 'I4' | 'I7';
  readonly message: string;
}

/** What of a cluster is looked at. */
export interface InvariantSubject {
  readonly database: Pick<TestDatabase, 'knex'>;
  readonly replicas: readonly ObservedProcess[];
  readonly agents: readonly (ObservedProcess & Pick<ClusterAgent, 'agentId' | 'ledger'>)[];
  readonly hosts?: readonly (ObservedProcess & Pick<AgentHost, 'agents'>)[];
}

type ObservedProcess = Pick<ClusterProcess, 'name' | 'exits' | 'log'>;

export interface InvariantOptions {
  /** How long commands that are still open may take to end. */
  readonly settleTimeoutMs?: number;
}

interface CommandFact {
  readonly command_id: string;
  readonly action: string;
  readonly status: string;
  readonly error_code: string | null;
  readonly session_id: string | null;
  readonly completed_at: Date | null;
}

interface Facts {
  readonly commands: readonly CommandFact[];
  readonly sessions: readonly { readonly id: string; readonly state: string }[];
  readonly ledgers: ReadonlyMap<string, readonly LedgerEntry[]>;
  /** By agent, the epoch that Postgres has come to. */
  readonly epochs: ReadonlyMap<string, number>;
  readonly alive: ReadonlyMap<string, string>;
}

const OPEN = ['pending', 'sent', 'acknowledged'];
const SETTLE_TIMEOUT_MS = 20_000;
const TROUBLE = /unhandled ?rejection|uncaught ?exception|"level":60/i;

/**
 * What must hold after every scenario, whatever was broken in it; `[]` when it does. First waits until every command has
 * ended, so call it when the faults are lifted.
 *
 * - I1 every accepted command ended.
 * - I2 at most one start effect for a session and generation, on all agents together; what the control plane calls ended
 *   runs nowhere, what it calls running does run.
 * - I3 within one agent every welcome has a higher epoch than those before it, no frame of commands is taken in under an
 *   epoch lower than one that the agent had been welcomed with, the epoch that operations begin under never goes back,
 *   and none is higher than the highest that Postgres has minted.
 * - I4 no command is called failed, expired or cancelled that was executed with success (`outcome_unknown` says that
 *   nobody knows).
 * - I7 no process ended that nobody ended, and no log tells of an unhandled rejection or a fatal error.
 */
export async function checkInvariants(
  cluster: InvariantSubject,
  options: InvariantOptions = {},
): Promise<InvariantViolation[]> {
  const openCommands = await settle(cluster, options.settleTimeoutMs ?? SETTLE_TIMEOUT_MS);
  const facts = await gather(cluster);
  return [
    ...openCommands,
    ...findSecondEffects(facts),
    ...findUntruths(facts),
    ...findStaleEpochs(facts),
    ...findDeniedSuccesses(facts),
    ...(await findUnexpectedEnds(cluster)),
  ];
}

async function settle(cluster: InvariantSubject, timeoutMs: number): Promise<InvariantViolation[]> {
  const openOnes = async (): Promise<Pick<CommandFact, 'command_id' | 'action' | 'status'>[]> =>
    cluster.database
      .knex<CommandFact>('agent_commands')
      .select('command_id', 'action', 'status')
      .whereNull('completed_at')
      // What had ended before a migration has no place in the queue, and perhaps no time either.
      .where((query) => void query.whereNotNull('seq').orWhereIn('status', OPEN));
  try {
    await waitUntil(async () => (await openOnes()).length === 0, {
      what: 'every command has ended',
      timeoutMs,
      intervalMs: 200,
    });
    return [];
  } catch {
    const open = await openOnes();
    return open.map(({ command_id, action, status }) => ({
      invariant: 'I1',
      message: `${action} ${command_id} is still ${status}`,
    }));
  }
}

async function gather(cluster: InvariantSubject): Promise<Facts> {
  const { knex } = cluster.database;
  const commands = await knex<CommandFact>('agent_commands').select(
    'command_id',
    'action',
    'status',
    'error_code',
    'session_id',
    'completed_at',
  );
  const sessions = await knex<{ id: string; state: string }>('sessions').select('id', 'state');
  const queues = await knex<{ agent_id: string; connection_epoch: string }>('agent_queues').select(
    'agent_id',
    'connection_epoch',
  );
  const hosted = (cluster.hosts ?? []).flatMap(({ agents }) => agents);
  const ledgers = new Map(
    [...cluster.agents, ...hosted].map((agent) => [agent.agentId, agent.ledger()]),
  );
  const alive = new Map(
    [...ledgers.values()].flatMap((entries) =>
      [...sessionsOf(entries).values()].map(({ sessionId, state }) => [sessionId, state] as const),
    ),
  );
  const epochs = new Map(
    queues.map(({ agent_id, connection_epoch }) => [agent_id, Number(connection_epoch)]),
  );
  return { commands, sessions, ledgers, epochs, alive };
}

function findSecondEffects({ ledgers }: Facts): InvariantViolation[] {
  const counts = new Map<string, number>();
  for (const entries of ledgers.values())
    for (const entry of entries) {
      if (entry.kind !== 'effect' || entry.action === 'stop' || entry.action === 'hibernate')
        continue;
      const operation = `session ${entry.sessionId}, generation ${entry.generation}`;
      counts.set(operation, (counts.get(operation) ?? 0) + 1);
    }
  return [...counts]
    .filter(([, count]) => count > 1)
    .map(([operation, count]) => ({
      invariant: 'I2',
      message: `${operation} was started ${count} times`,
    }));
}

function findUntruths({ sessions, alive, commands }: Facts): InvariantViolation[] {
  const open = new Set(
    commands.flatMap(({ session_id, completed_at }) => (completed_at ? [] : [session_id])),
  );
  return sessions
    .filter(({ id }) => !open.has(id))
    .flatMap(({ id, state }) => {
      const actual = alive.get(id) ?? 'not there';
      const isEnded = state === 'terminated' || state === 'failed';
      const isTrue =
        (isEnded && actual === 'not there') ||
        (state === 'running' && actual === 'running') ||
        (state === 'hibernated' && actual === 'hibernated');
      return isTrue
        ? []
        : [
            {
              invariant: 'I2' as const,
              message: `session ${id} is ${state}, at its agent: ${actual}`,
            },
          ];
    });
}

function findStaleEpochs({ ledgers, epochs }: Facts): InvariantViolation[] {
  return [...ledgers].flatMap(([agentId, entries]) => {
    const minted = epochs.get(agentId) ?? 0;
    let highest = 0;
    const welcomed = new Set<number>();
    return entries.flatMap((entry): InvariantViolation[] => {
      const seen = epochOf(entry);
      if (seen === undefined) return [];
      const isSecondWelcome = entry.kind === 'welcome' && welcomed.has(seen.epoch);
      const isStale = seen.epoch < highest || seen.epoch > minted || isSecondWelcome;
      const message = `${agentId} ${seen.what} under epoch ${seen.epoch} (highest before ${highest}, minted ${minted})`;
      highest = Math.max(highest, seen.epoch);
      if (entry.kind === 'welcome') welcomed.add(seen.epoch);
      return isStale ? [{ invariant: 'I3', message }] : [];
    });
  });
}

function epochOf(entry: LedgerEntry): { epoch: number; what: string } | undefined {
  // Epoch 0: taken up from the journal before the first welcome of its process.
  if (entry.kind === 'begin' && entry.epoch > 0)
    return { epoch: entry.epoch, what: `began ${entry.commandId}` };
  if (entry.kind === 'welcome') return { epoch: entry.epoch, what: 'was welcomed' };
  if (entry.kind === 'frame')
    return { epoch: entry.epoch, what: `took in ${entry.commandIds.join(', ')}` };
  return undefined;
}

function findDeniedSuccesses({ commands, ledgers }: Facts): InvariantViolation[] {
  const done = new Set(
    [...ledgers.values()]
      .flat()
      .flatMap((entry) =>
        entry.kind === 'end' && entry.outcome === 'done' ? [entry.commandId] : [],
      ),
  );
  const denials = new Set(['failed', 'expired', 'cancelled']);
  return commands
    .filter(({ command_id }) => done.has(command_id))
    .filter(({ status, error_code }) => denials.has(status) && error_code !== 'outcome_unknown')
    .map(({ command_id, action, status, error_code }) => ({
      invariant: 'I4',
      message: `${action} ${command_id} was executed, and is called ${status} (${error_code})`,
    }));
}

async function findUnexpectedEnds(cluster: InvariantSubject): Promise<InvariantViolation[]> {
  const violations: InvariantViolation[] = [];
  for (const member of [...cluster.replicas, ...cluster.agents, ...(cluster.hosts ?? [])]) {
    for (const { pid, code, signal, expected } of member.exits)
      if (!expected)
        violations.push({
          invariant: 'I7',
          message: `${member.name} (pid ${pid}) ended with ${code ?? signal}`,
        });
    const line = (await member.log()).split('\n').find((text) => TROUBLE.test(text));
    if (line !== undefined)
      violations.push({ invariant: 'I7', message: `${member.name} logged: ${line}` });
  }
  return violations;
}
