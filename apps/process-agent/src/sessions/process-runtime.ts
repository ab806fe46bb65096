import {
  CommandError,
  isAgentStopping,
  type Endpoint,
  type Observation,
  type OperationContext,
  type Runtime,
  type SessionRef,
  type SessionToStart,
  type Started,
} from '@streamspace/agent';
import type { InventoryAnswer, InventoryEntry, StartPayload } from '@streamspace/protocol';
import type { Logger } from 'pino';
import { clearDisplay, findFreeDisplay } from '../machine/free-display.ts';
import { findFreePort } from '../machine/free-port.ts';
import { carries, readProcessTable, variableOf } from '../machine/process-table.ts';
import { ProcessTree } from '../machine/process-tree.ts';
import { describeExit, type Exit } from './exit.ts';
import { environmentOf, markerOf } from './session-environment.ts';
import {
  adoptSession,
  isLeaderAlive,
  readBootId,
  spawnSession,
  type SessionProcess,
} from './session-process.ts';
import type { SessionRecord } from './session-record.ts';
import type { SessionStore } from './session-store.ts';
import { waitUntilReady } from './readiness.ts';

export interface ProcessRuntimeOptions {
  readonly store: SessionStore;
  /** In every process's environment: tells this agent's processes from another one's on the same machine. */
  readonly runtimeId: string;
  /** Where sessions listen. */
  readonly host: string;
  /** For the sessions' PATH. */
  readonly path: string | undefined;
  readonly readyWithinMs: number;
  readonly logger: Logger;
}

/**
 * Sessions as processes of this machine: a process group each, which outlives the agent. What is
 * needed to find it again is on the disk before it is spawned, and in its environment.
 */
export class ProcessRuntime implements Runtime {
  readonly #options: ProcessRuntimeOptions;
  readonly #processes = new Map<string, SessionProcess>();
  /** The end of what is done for a session last: one thing at a time. */
  readonly #turns = new Map<string, Promise<unknown>>();
  #listener: ((observation: Observation) => void) | undefined;
  readonly #unheard: Observation[] = [];
  #isClosed = false;

  constructor(options: ProcessRuntimeOptions) {
    this.#options = options;
  }

  /** Finds the sessions of an earlier agent; what has ended meanwhile is reported. */
  async open(): Promise<void> {
    await this.#options.store.load();
    for (const record of this.#options.store.all()) {
      const { sessionId, state, leader, failure } = record;
      if (state === 'failed' && failure !== null) this.#tellFailure(record, failure);
      if (state !== 'running' || leader === null) continue;
      const process = adoptSession(leader);
      if (process) this.#watch(record, process);
      else await this.#exclusively(sessionId, () => this.#noteDeath(record, null, false));
    }
  }

  observe(listener: (observation: Observation) => void): void {
    this.#listener = listener;
    for (const observation of this.#unheard.splice(0)) listener(observation);
  }

  start(session: SessionToStart, context: OperationContext): Promise<Started> {
    return this.#exclusively(session.sessionId, () =>
      this.#bringUp(session, session.spec, context, () => this.#removeAll(session.sessionId)),
    );
  }

  wake(
    session: SessionRef & { readonly spec?: StartPayload },
    context: OperationContext,
  ): Promise<Started> {
    const { sessionId } = session;
    const before = this.#options.store.find(sessionId);
    const spec = session.spec ?? before?.spec;
    if (spec === undefined) return Promise.reject(unknownSession(sessionId));
    return this.#exclusively(sessionId, () =>
      this.#bringUp(session, spec, context, () => this.#layDown(sessionId, session.generation)),
    );
  }

  hibernate({ sessionId, generation }: SessionRef): Promise<void> {
    if (!this.#options.store.find(sessionId)) return Promise.reject(unknownSession(sessionId));
    return this.#exclusively(sessionId, () => this.#layDown(sessionId, generation));
  }

  stop({ sessionId }: SessionRef): Promise<void> {
    return this.#exclusively(sessionId, () => this.#removeAll(sessionId));
  }

  inventory(): Promise<InventoryAnswer> {
    const { store, runtimeId } = this.#options;
    const sessions = new Map(
      store.all().map((record) => [record.sessionId, this.#toEntry(record)] as const),
    );
    for (const entry of readProcessTable()) {
      if (!carries(entry, [`STREAMSPACE_RUNTIME=${runtimeId}`])) continue;
      const sessionId = variableOf(entry, 'STREAMSPACE_SESSION_ID') ?? '';
      const generation = Number(variableOf(entry, 'STREAMSPACE_GENERATION'));
      // Without a record: left by an agent that was killed in the middle of a stop.
      if (!sessions.has(sessionId)) {
        sessions.set(sessionId, { sessionId, generation, state: 'running' });
      }
    }
    return Promise.resolve({ complete: store.isComplete, sessions: [...sessions.values()] });
  }

  close(): Promise<void> {
    this.#isClosed = true;
    for (const process of this.#processes.values()) process.release();
    this.#processes.clear();
    return Promise.resolve();
  }

  async #exclusively<T>(sessionId: string, operate: () => Promise<T>): Promise<T> {
    const before = this.#turns.get(sessionId);
    const turn = (async () => {
      await before?.catch(() => undefined);
      return operate();
    })();
    this.#turns.set(sessionId, turn);
    try {
      return await turn;
    } finally {
      if (this.#turns.get(sessionId) === turn) this.#turns.delete(sessionId);
    }
  }

  async #bringUp(
    session: SessionRef,
    spec: StartPayload,
    context: OperationContext,
    undo: () => Promise<void>,
  ): Promise<Started> {
    try {
      context.signal.throwIfAborted();
      const record = await this.#spawnOnce(session, spec);
      const process = this.#processes.get(session.sessionId);
      if (process === undefined) throw new Error('the process was spawned and is not known');
      const { host, readyWithinMs } = this.#options;
      const endpoint: Endpoint = { host, port: record.ports[0]?.port ?? 0 };
      const exit = await waitUntilReady({
        endpoint,
        process,
        protocol: spec.protocol,
        withinMs: readyWithinMs,
        signal: context.signal,
      });
      if (exit !== 'ready') throw await this.#exited(session.sessionId, exit.exit);
      this.#watch(await this.#options.store.save({ ...record, state: 'running' }), process);
      return { endpoint };
    } catch (error) {
      // The next agent takes it up as it is.
      if (isAgentStopping(context.signal)) throw error;
      await undo();
      throw error;
    }
  }

  /** The record of the session under this generation, with its process: the one that is there, or a new one. */
  async #spawnOnce(session: SessionRef, spec: StartPayload): Promise<SessionRecord> {
    const { sessionId, generation } = session;
    const known = this.#options.store.find(sessionId);
    if (known?.generation === generation && known.state !== 'hibernated') {
      const adopted = await this.#adopt(known);
      if (adopted) return adopted;
      // It was spawned, and one generation is spawned once.
      if (known.leader !== null) throw await this.#exited(sessionId, null);
    } else {
      await this.#endProcesses(sessionId);
    }
    return this.#spawn(session, spec);
  }

  async #adopt(record: SessionRecord): Promise<SessionRecord | undefined> {
    const leader = record.leader ?? this.#findLeader(record);
    const process =
      this.#processes.get(record.sessionId) ?? (leader ? adoptSession(leader) : undefined);
    if (process === undefined) return undefined;
    this.#processes.set(record.sessionId, process);
    return this.#options.store.save({ ...record, leader: process.leader });
  }

  /** What an agent spawned that was killed before it could write down the pid. */
  #findLeader({ sessionId, generation }: SessionRecord): SessionRecord['leader'] | undefined {
    const marker = markerOf({ ...this.#options, sessionId, generation });
    const leader = readProcessTable().find(
      (entry) => entry.pid === entry.groupId && carries(entry, marker),
    );
    return leader && { pid: leader.pid, startTime: leader.startTime, bootId: readBootId() };
  }

  async #spawn({ sessionId, generation }: SessionRef, spec: StartPayload): Promise<SessionRecord> {
    const { store, runtimeId, host, path } = this.#options;
    const { command, args = [] } = spec.platform;
    if (command === undefined) {
      throw new CommandError('command_missing', 'The template has no command for this platform.');
    }
    const record = await store.save({
      sessionId,
      generation,
      state: 'starting',
      spec,
      ports: await this.#choosePorts(spec),
      display: spec.protocol === 'vnc' ? findFreeDisplay(this.#takenDisplays()) : null,
      leader: null,
      failure: null,
    });
    const { home, log } = store.pathsOf(sessionId);
    const process = await spawnSession({
      command: [...command, ...args],
      environment: environmentOf({ ...record, runtimeId, host, home, path }),
      workingDirectory: home,
      log,
    });
    this.#processes.set(sessionId, process);
    return store.save({ ...record, leader: process.leader });
  }

  async #choosePorts(spec: StartPayload): Promise<SessionRecord['ports']> {
    const taken = new Set(this.#options.store.all().flatMap(({ ports }) => ports.map(toPort)));
    const chosen: SessionRecord['ports'] = [];
    for (const { name } of spec.ports) {
      const port = await findFreePort(this.#options.host, taken);
      taken.add(port);
      chosen.push({ name, port });
    }
    return chosen;
  }

  #takenDisplays(): ReadonlySet<number> {
    return new Set(this.#options.store.all().flatMap(({ display }) => display ?? []));
  }

  #watch(record: SessionRecord, process: SessionProcess): void {
    this.#processes.set(record.sessionId, process);
    void this.#reportEnd(record, process);
  }

  async #reportEnd(record: SessionRecord, process: SessionProcess): Promise<void> {
    const { sessionId } = record;
    const exit = await process.exited;
    await this.#exclusively(sessionId, async () => {
      // Ended by an operation, and not by itself.
      if (this.#isClosed || this.#processes.get(sessionId) !== process) return;
      await this.#noteDeath(record, exit, true);
    });
  }

  /** A session ended by itself: what is left of its group goes, too, and the control plane is told. */
  async #noteDeath(record: SessionRecord, exit: Exit, isGroupOwn: boolean): Promise<void> {
    const { sessionId } = record;
    const { store, logger } = this.#options;
    const failure = await describeExit(exit, store.pathsOf(sessionId).log);
    try {
      await this.#endProcesses(sessionId, isGroupOwn);
      await store.save({ ...record, state: 'failed', failure });
    } catch (err) {
      logger.error({ err, sessionId }, 'what a dead session left could not be cleaned up');
    }
    this.#tellFailure(record, failure);
  }

  #tellFailure({ sessionId, generation }: SessionRecord, message: string): void {
    const observation: Observation = {
      sessionId,
      generation,
      state: 'failed',
      code: 'process_exited',
      message,
    };
    if (this.#listener) this.#listener(observation);
    else this.#unheard.push(observation);
  }

  async #exited(sessionId: string, exit: Exit): Promise<CommandError> {
    const { log } = this.#options.store.pathsOf(sessionId);
    return new CommandError('process_exited', await describeExit(exit, log));
  }

  async #layDown(sessionId: string, generation: number): Promise<void> {
    await this.#endProcesses(sessionId);
    const record = this.#options.store.find(sessionId);
    if (record === undefined) return;
    await this.#options.store.save({ ...record, generation, state: 'hibernated', leader: null });
  }

  async #removeAll(sessionId: string): Promise<void> {
    await this.#endProcesses(sessionId);
    await this.#options.store.remove(sessionId);
  }

  /** All processes of the session, of any generation. Throws while one of them is left. */
  async #endProcesses(sessionId: string, isGroupOwn = false): Promise<void> {
    const { store, runtimeId } = this.#options;
    const record = store.find(sessionId);
    const leader = record?.leader;
    const isThisBoot = leader?.bootId === readBootId();
    await new ProcessTree({
      marker: markerOf({ runtimeId, sessionId }),
      leader: leader && isThisBoot ? leader : undefined,
      isGroupOwn,
    }).end();
    this.#processes.get(sessionId)?.release();
    this.#processes.delete(sessionId);
    if (record?.display != null) clearDisplay(record.display);
  }

  #toEntry({ sessionId, generation, state, leader }: SessionRecord): InventoryEntry {
    const isUp = state === 'starting' || state === 'running';
    const isAlive = leader !== null && isLeaderAlive(leader);
    const isDead = isUp && !isAlive && !this.#turns.has(sessionId);
    return { sessionId, generation, state: isDead ? 'failed' : state };
  }
}

function toPort({ port }: { port: number }): number {
  return port;
}

function unknownSession(sessionId: string): CommandError {
  return new CommandError('session_unknown', `This machine has no session "${sessionId}".`);
}
