import { z } from 'zod';
import { labelsSchema, nameSchema } from './labels.ts';
import { capacitySchema, envSchema, resourcesSchema } from './resources.ts';
import { streamProtocolSchema } from './session.ts';
import { storableText, toStorableJson } from './storable-text.ts';
import { platformSpecSchema } from './template.ts';

/**
 * The agent protocol. An agent dials out with socket.io v4 (path `/agents`, namespace `/agents`,
 * WebSocket only) and says `hello` as the handshake's `auth`. What follows:
 *
 *     agent                                   replica
 *       | connect, auth = hello                 |  authenticate, mint an epoch in Postgres
 *       |<------------------------------ welcome|  {epoch, installationId}: the agent's fence moves
 *       |<------------------------------- resume|  what the queue believes to be with the agent
 *       | ack: held | ended | unknown           |  only now is anything claimed
 *       |<---------------------------- inventory|  what really runs? (now and then, too)
 *       |<----------------------------- commands|  ack after fsync: `acknowledged`
 *       | results, statuses --------------------|  ack: stored, may be forgotten
 *
 * Every frame to the agent carries its connection's epoch, and the agent ignores what comes with a
 * lower one than the highest it was welcomed with. The epoch of what an agent says is its socket's.
 * Either side ignores fields and events that it does not know. docs/agent-protocol.md is the full text.
 */
export const AGENT_PROTOCOL_VERSION = 1;
export const AGENT_SOCKET_PATH = '/agents';
export const AGENT_NAMESPACE = '/agents';

/** engine.io's defaults find a half-open connection after 45 s; these after 10 s. */
export const AGENT_PING_INTERVAL_MS = 5000;
export const AGENT_PING_TIMEOUT_MS = 5000;

export const MAX_ERROR_MESSAGE_BYTES = 4096;
export const MAX_RESULT_BYTES = 65_536;
/** A frame above socket.io's `maxHttpBufferSize` (1 MB) would close the connection again and again. */
export const MAX_BATCH_ENTRIES = 100;
export const MAX_BATCH_BYTES = 262_144;

const epochSchema = z.int().min(0);
const idSchema = z.string().min(1).max(255);
const codeSchema = z
  .string()
  .max(64)
  .regex(/^[a-z][a-z0-9_]*$/, 'is snake_case');

export const helloSchema = z.object({
  agentId: idSchema,
  key: z.string().min(1).max(512),
  protocolVersion: z.int(),
  instanceId: idSchema.describe('Made with the journal directory: tells two hosts apart.'),
  journalId: idSchema.describe('Made with the journal: another one means that the old is lost.'),
  highestEpoch: epochSchema.describe(
    'The highest epoch this process was welcomed with, 0 at first.',
  ),
  platform: nameSchema.optional().describe('Default: what it was registered with.'),
  region: nameSchema.optional(),
  labels: labelsSchema.optional(),
  capacity: capacitySchema.optional(),
  version: z.string().max(100).optional(),
});
export type Hello = z.infer<typeof helloSchema>;

export const refusalCodes = [
  'invalid_hello',
  'unsupported_protocol',
  'unauthorized',
  'not_approved',
  'duplicate_identity',
  'busy',
  'unavailable',
  'draining',
] as const;
export type RefusalCode = (typeof refusalCodes)[number];

/** The `data` of a `connect_error`. */
export const refusalSchema = z.object({
  code: z.string(),
  message: z.string(),
  retryAfterMs: z.int().min(0).optional(),
});
export type Refusal = z.infer<typeof refusalSchema>;

export const welcomeSchema = z.object({
  epoch: epochSchema,
  installationId: z.string(),
  replica: z.string(),
});
export type Welcome = z.infer<typeof welcomeSchema>;

export const closingCodes = ['superseded', 'key_revoked', 'agent_deleted', 'unresponsive'] as const;
export type ClosingCode = (typeof closingCodes)[number];

/** Sent before the server closes a connection for good reason. */
export const closingSchema = z.object({ code: z.string(), message: z.string() });
export type Closing = z.infer<typeof closingSchema>;

/** Open another connection within `withinMs`, at a random moment, and let go of this one after that. */
export const moveSchema = z.object({ epoch: epochSchema, withinMs: z.int().min(0) });
export type Move = z.infer<typeof moveSchema>;

const commandRefSchema = z.object({ commandId: idSchema, attempt: z.int().min(0) });

export const outcomeSchema = z.object({
  status: z.enum(['completed', 'failed', 'cancelled']),
  errorCode: codeSchema.nullish(),
  errorMessage: storableText(MAX_ERROR_MESSAGE_BYTES).nullish(),
  result: z
    .unknown()
    .refine(
      (value) => (JSON.stringify(value ?? null) ?? 'null').length <= MAX_RESULT_BYTES,
      `takes at most ${MAX_RESULT_BYTES} bytes as JSON`,
    )
    .transform(toStorableJson)
    .optional(),
});
export type Outcome = z.infer<typeof outcomeSchema>;

export const resumeSchema = z.object({ epoch: epochSchema, commands: z.array(commandRefSchema) });
export type Resume = z.infer<typeof resumeSchema>;

export const resumeAnswerSchema = z.object({
  commands: z.array(
    z.discriminatedUnion('state', [
      z.object({ commandId: idSchema, state: z.literal('held') }),
      z.object({ commandId: idSchema, state: z.literal('ended'), outcome: outcomeSchema }),
      z.object({ commandId: idSchema, state: z.literal('unknown') }),
    ]),
  ),
});
export type ResumeAnswer = z.infer<typeof resumeAnswerSchema>;

export const wireCommandSchema = z.object({
  commandId: idSchema,
  attempt: z.int().min(1),
  sessionId: idSchema.nullable(),
  generation: z.int().min(1).nullable(),
  action: z.string(),
  payload: z.record(z.string(), z.unknown()),
});
export type WireCommand = z.infer<typeof wireCommandSchema>;

/** The payload of `start_session` (the other actions need none). */
export const startPayloadSchema = z.object({
  template: z.string(),
  userId: z.string(),
  name: z.string().nullish(),
  protocol: streamProtocolSchema,
  ports: z.array(z.object({ name: z.string(), port: z.int() })).min(1),
  platform: platformSpecSchema,
  resources: resourcesSchema,
  env: envSchema,
});
export type StartPayload = z.infer<typeof startPayloadSchema>;

export const commandsSchema = z.object({
  epoch: epochSchema,
  commands: z.array(wireCommandSchema),
});
export type Commands = z.infer<typeof commandsSchema>;

/** The ack of `commands`: what is in the agent's journal, on disk. */
export const commandsAckSchema = z.object({ acknowledged: z.array(idSchema) });
export type CommandsAck = z.infer<typeof commandsAckSchema>;

export const cancelSchema = z.object({ epoch: epochSchema, commandIds: z.array(idSchema) });
export type Cancel = z.infer<typeof cancelSchema>;

export const commandResultSchema = commandRefSchema.extend({ outcome: outcomeSchema });
export type CommandResult = z.infer<typeof commandResultSchema>;

/** Entries are parsed one by one, so that a bad one does not take the others with it. */
export const resultsSchema = z.object({ results: z.array(z.unknown()).max(MAX_BATCH_ENTRIES) });
export const resultsAckSchema = z.object({ confirmed: z.array(idSchema) });
export type ResultsAck = z.infer<typeof resultsAckSchema>;

export const endpointSchema = z.object({
  host: z.string().max(255),
  port: z.int().min(1).max(65_535),
});

export const observedStateSchema = z.enum(['starting', 'running', 'failed']);
export type ObservedState = z.infer<typeof observedStateSchema>;

export const sessionStatusSchema = z.object({
  sessionId: idSchema,
  generation: z.int().min(0),
  sequence: z.int().min(0).describe('Rises with every status of this process.'),
  state: observedStateSchema,
  phase: storableText(64).nullish(),
  code: codeSchema.nullish(),
  message: storableText(MAX_ERROR_MESSAGE_BYTES).nullish(),
});
export type SessionStatus = z.infer<typeof sessionStatusSchema>;

export const statusesSchema = z.object({ statuses: z.array(z.unknown()).max(MAX_BATCH_ENTRIES) });
export const statusesAckSchema = z.object({ stored: z.int() });

/** Acked with `inventoryAnswerSchema`. */
export const inventoryRequestSchema = z.object({ epoch: epochSchema });

export const inventoryEntrySchema = z.object({
  sessionId: idSchema,
  generation: z.int().min(0),
  state: z.enum(['starting', 'running', 'hibernated', 'failed']),
});
export type InventoryEntry = z.infer<typeof inventoryEntrySchema>;

/** `complete: false` changes nothing: the agent could not see everything. */
export const inventoryAnswerSchema = z.object({
  complete: z.boolean(),
  sessions: z.array(inventoryEntrySchema),
});
export type InventoryAnswer = z.infer<typeof inventoryAnswerSchema>;

/** Sessions of the inventory that the control plane does not know; the agent removes them under its caps. */
export const orphansSchema = z.object({ epoch: epochSchema, sessionIds: z.array(idSchema) });
export type Orphans = z.infer<typeof orphansSchema>;

/** Changed capacity; liveness itself is engine.io's ping and pong. */
export const heartbeatSchema = z.object({ capacity: capacitySchema });
export type Heartbeat = z.infer<typeof heartbeatSchema>;

/** Request/reply that need not be durable. */
export const agentRequestSchema = z.object({
  epoch: epochSchema,
  kind: z.string(),
  payload: z.record(z.string(), z.unknown()),
});
export type AgentRequest = z.infer<typeof agentRequestSchema>;

export const agentReplySchema = z.discriminatedUnion('ok', [
  z.object({ ok: z.literal(true), payload: z.record(z.string(), z.unknown()) }),
  z.object({ ok: z.literal(false), code: z.string(), message: z.string() }),
]);
export type AgentReply = z.infer<typeof agentReplySchema>;

/** For socket.io's typed emitters. Payloads are `unknown` where the receiver has yet to parse them. */
export interface ServerToAgentEvents {
  welcome: (message: Welcome) => void;
  resume: (message: Resume, ack: (answer: unknown) => void) => void;
  commands: (message: Commands, ack: (answer: unknown) => void) => void;
  cancel: (message: Cancel) => void;
  inventory: (message: { epoch: number }, ack: (answer: unknown) => void) => void;
  orphans: (message: Orphans) => void;
  request: (message: AgentRequest, ack: (answer: unknown) => void) => void;
  move: (message: Move) => void;
  closing: (message: Closing) => void;
}

export interface AgentToServerEvents {
  results: (message: unknown, ack?: (answer: ResultsAck) => void) => void;
  statuses: (message: unknown, ack?: (answer: { stored: number }) => void) => void;
  heartbeat: (message: unknown) => void;
}
