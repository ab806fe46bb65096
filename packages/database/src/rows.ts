import { z } from 'zod';
import {
  capacitySchema,
  commandStatusSchema,
  cpuQuantitySchema,
  memoryQuantitySchema,
  sessionStateSchema,
  streamProtocolSchema,
} from '@streamspace/protocol';

/** A time as a column (`Date`) or inside a function's jsonb answer (text). */
const time = z.coerce.date();
const optionalTime = time.nullable();
/** int8: text as a column, a number inside jsonb. Epochs and generations stay below 2^53 by construction. */
const count = z.coerce.number();
const labels = z.record(z.string(), z.string());

export const commandRowSchema = z.object({
  command_id: z.string(),
  /** Null only in what upstream left. */
  agent_id: z.string().nullable(),
  session_id: z.string().nullable(),
  action: z.string(),
  status: commandStatusSchema,
  seq: z.string().nullable(),
  generation: count.nullable(),
  attempt: z.int(),
  sent_epoch: count.nullable(),
  sent_by: z.string().nullable(),
  error_code: z.string().nullable(),
  error_message: z.string().nullable(),
  result: z.unknown(),
  created_at: time,
  updated_at: time,
  sent_at: optionalTime,
  acknowledged_at: optionalTime,
  completed_at: optionalTime,
  expires_at: optionalTime,
  cancel_requested_at: optionalTime,
});
export type CommandRow = z.infer<typeof commandRowSchema>;

export const commandSummaryRowSchema = commandRowSchema
  .pick({
    command_id: true,
    agent_id: true,
    session_id: true,
    action: true,
    status: true,
    error_code: true,
    error_message: true,
    updated_at: true,
  })
  .extend({ user_id: z.string().nullable() });
export type CommandSummaryRow = z.infer<typeof commandSummaryRowSchema>;

export const sessionRowSchema = z.object({
  id: z.string(),
  name: z.string().nullable(),
  user_id: z.string().nullable(),
  template_name: z.string().nullable(),
  state: sessionStateSchema,
  desired_state: z.enum(['running', 'hibernated', 'terminated']),
  generation: count,
  phase: z.string().nullable(),
  message: z.string().nullable(),
  error_code: z.string().nullable(),
  error_message: z.string().nullable(),
  agent_id: z.string().nullable(),
  agent_state: z.enum(['online', 'lost', 'offline']).nullable(),
  platform: z.string().nullable(),
  labels,
  /** Upstream stored what it was given, quantities or not. */
  cpu: cpuQuantitySchema.nullable().catch(null),
  memory: memoryQuantitySchema.nullable().catch(null),
  /** Upstream wrote `selkies`, `kasm` and `guacamole` too, which all are HTTP to a browser. */
  streaming_protocol: z
    .string()
    .nullable()
    .transform((protocol) => streamProtocolSchema.catch(protocol ? 'http' : 'vnc').parse(protocol)),
  endpoint_host: z.string().nullable(),
  endpoint_port: z.int().nullable(),
  created_at: time,
  updated_at: time,
  started_at: optionalTime,
  ended_at: optionalTime,
});
export type SessionRow = z.infer<typeof sessionRowSchema>;

export const agentRowSchema = z.object({
  agent_id: z.string(),
  platform: z.string(),
  region: z.string().nullable(),
  labels,
  capacity: capacitySchema.catch({}).nullable(),
  version: z.string().nullable(),
  notice_code: z.string().nullable(),
  notice_message: z.string().nullable(),
  state: z.enum(['online', 'lost', 'offline']),
  replica: z.string().nullable(),
  cordoned: z.boolean(),
  approval_status: z.string().nullable(),
  connection_epoch: count,
  connected_at: optionalTime,
  disconnected_at: optionalTime,
  max_sessions: z.int().nullable(),
  capacity_cpu_millis: count.nullable(),
  capacity_memory_bytes: count.nullable(),
  reserved_sessions: z.int(),
  reserved_cpu_millis: count,
  reserved_memory_bytes: count,
  queue_length: count,
  created_at: time,
  updated_at: time,
});
export type AgentRow = z.infer<typeof agentRowSchema>;

/** What ending commands changed; see `finish_commands` in migration 009. */
export const finishedSchema = z.object({
  commands: z.array(commandSummaryRowSchema),
  sessions: z.array(sessionRowSchema),
  rings: z.array(z.object({ agentId: z.string(), ownerBootId: z.string() })),
});
export type Finished = z.infer<typeof finishedSchema>;
