import {
  AGENT_NAMESPACE,
  AGENT_PROTOCOL_VERSION,
  AGENT_SOCKET_PATH,
  type CommandResult,
  type Hello,
  type Refusal,
  type ResultsAck,
  type ResumeAnswer,
  type Welcome,
  type WireCommand,
} from '@streamspace/protocol';
import { io, type Socket } from 'socket.io-client';

export interface ReceivedFrame {
  readonly epoch: number;
  readonly commands: readonly WireCommand[];
  readonly acknowledge: (answer: { acknowledged: string[] }) => void;
}

/** An agent on the bare protocol: every frame is the test's to answer, late, twice or never. */
export class ScriptedAgent implements Disposable {
  readonly socket: Socket;
  readonly frames: ReceivedFrame[] = [];
  readonly cancelled: string[] = [];
  readonly closings: { code: string; message: string }[] = [];
  readonly orphans: string[][] = [];
  readonly resumes: { commandId: string; attempt: number }[][] = [];
  welcome: Welcome | undefined;
  /** Acknowledge at once, and answer `completed`. */
  acknowledges = true;
  completes = true;
  resumeAnswer: (commandIds: readonly string[]) => ResumeAnswer = (commandIds) => ({
    commands: commandIds.map((commandId) => ({ commandId, state: 'unknown' })),
  });
  inventory: unknown = { complete: false, sessions: [] };

  constructor(url: string, hello: Partial<Hello> & Pick<Hello, 'agentId' | 'key'>) {
    this.socket = io(`${url}${AGENT_NAMESPACE}`, {
      path: AGENT_SOCKET_PATH,
      transports: ['websocket'],
      reconnection: false,
      forceNew: true,
      auth: {
        protocolVersion: AGENT_PROTOCOL_VERSION,
        instanceId: 'instance-1',
        journalId: 'journal-1',
        highestEpoch: 0,
        platform: 'process',
        ...hello,
      },
    });
    this.socket.on('welcome', (welcome: Welcome) => {
      this.welcome = welcome;
    });
    this.socket.on(
      'resume',
      (
        question: { commands: { commandId: string; attempt: number }[] },
        ack: (answer: unknown) => void,
      ) => {
        this.resumes.push(question.commands);
        ack(this.resumeAnswer(question.commands.map(({ commandId }) => commandId)));
      },
    );
    this.socket.on('inventory', (_: unknown, ack: (answer: unknown) => void) => {
      ack(this.inventory);
    });
    this.socket.on('orphans', ({ sessionIds }: { sessionIds: string[] }) => {
      this.orphans.push(sessionIds);
    });
    this.socket.on('request', (_: unknown, ack: (answer: unknown) => void) => {
      ack({ ok: true, payload: { pong: true } });
    });
    this.socket.on('cancel', ({ commandIds }: { commandIds: string[] }) => {
      this.cancelled.push(...commandIds);
    });
    this.socket.on('closing', (closing: { code: string; message: string }) => {
      this.closings.push(closing);
    });
    this.socket.on(
      'commands',
      (
        message: { epoch: number; commands: WireCommand[] },
        acknowledge: ReceivedFrame['acknowledge'],
      ) => {
        this.frames.push({ ...message, acknowledge });
        const { commands } = message;
        if (this.acknowledges) acknowledge({ acknowledged: commands.map((c) => c.commandId) });
        if (this.completes) this.complete(commands).catch(() => undefined);
      },
    );
  }

  /** Connected and welcomed, or the refusal. */
  static async connect(
    url: string,
    hello: Partial<Hello> & Pick<Hello, 'agentId' | 'key'>,
  ): Promise<ScriptedAgent> {
    const agent = new ScriptedAgent(url, hello);
    const refusal = await new Promise<(Error & { data?: Refusal }) | undefined>((resolve) => {
      agent.socket.once('welcome', () => resolve(undefined));
      agent.socket.once('connect_error', resolve);
    });
    if (refusal) {
      agent[Symbol.dispose]();
      throw Object.assign(refusal, { code: refusal.data?.code });
    }
    return agent;
  }

  get epoch(): number {
    return this.welcome?.epoch ?? 0;
  }

  get received(): readonly WireCommand[] {
    return this.frames.flatMap((frame) => frame.commands);
  }

  async complete(commands: readonly WireCommand[], result: unknown = {}): Promise<ResultsAck> {
    return this.report(
      commands.map(({ commandId, attempt }) => ({
        commandId,
        attempt,
        outcome: { status: 'completed', result },
      })),
    );
  }

  async report(results: readonly (CommandResult | Record<string, unknown>)[]): Promise<ResultsAck> {
    return (await this.socket.emitWithAck('results', { results })) as ResultsAck;
  }

  [Symbol.dispose](): void {
    this.socket.disconnect();
  }
}
