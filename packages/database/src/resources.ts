import type { Agent, Command, LiveEvent, Session } from '@streamspace/protocol';
import type { AgentRow, CommandRow, CommandSummaryRow, SessionRow } from './rows.ts';

/** Rows as the HTTP API and the live events show them. */
export function toCommand(row: CommandRow): Command {
  return {
    id: row.command_id,
    agentId: row.agent_id,
    sessionId: row.session_id,
    action: row.action,
    status: row.status,
    seq: row.seq,
    generation: row.generation,
    attempt: row.attempt,
    sentEpoch: row.sent_epoch,
    sentBy: row.sent_by,
    errorCode: row.error_code,
    errorMessage: row.error_message,
    result: row.result ?? null,
    createdAt: row.created_at.toISOString(),
    updatedAt: row.updated_at.toISOString(),
    sentAt: toText(row.sent_at),
    acknowledgedAt: toText(row.acknowledged_at),
    completedAt: toText(row.completed_at),
    expiresAt: toText(row.expires_at),
    cancelRequestedAt: toText(row.cancel_requested_at),
  };
}

export function toSession(row: SessionRow): Session {
  return {
    id: row.id,
    name: row.name,
    userId: row.user_id ?? '',
    template: row.template_name ?? '',
    state: row.state,
    desiredState: row.desired_state,
    generation: row.generation,
    phase: row.phase,
    message: row.message,
    error:
      row.error_code === null
        ? null
        : { code: row.error_code, message: row.error_message ?? 'No more is known.' },
    agentId: row.agent_id,
    agentState: row.agent_state,
    platform: row.platform,
    protocol: row.streaming_protocol,
    labels: row.labels,
    resources: {
      ...(row.cpu !== null && { cpu: row.cpu }),
      ...(row.memory !== null && { memory: row.memory }),
    },
    endpoint:
      row.endpoint_host === null || row.endpoint_port === null
        ? null
        : { host: row.endpoint_host, port: row.endpoint_port },
    createdAt: row.created_at.toISOString(),
    updatedAt: row.updated_at.toISOString(),
    startedAt: toText(row.started_at),
    endedAt: toText(row.ended_at),
  };
}

export function toAgent(row: AgentRow): Agent {
  return {
    agentId: row.agent_id,
    platform: row.platform,
    region: row.region,
    labels: row.labels,
    state: row.state,
    cordoned: row.cordoned,
    connectionEpoch: row.connection_epoch,
    replica: row.replica,
    connectedAt: toText(row.connected_at),
    disconnectedAt: toText(row.disconnected_at),
    capacity: row.capacity ?? {},
    load: {
      sessions: row.reserved_sessions,
      cpu: `${row.reserved_cpu_millis}m`,
      memory: String(row.reserved_memory_bytes),
    },
    queueLength: row.queue_length,
    version: row.version,
    notice:
      row.notice_code === null
        ? null
        : { code: row.notice_code, message: row.notice_message ?? row.notice_code },
    createdAt: row.created_at.toISOString(),
    updatedAt: row.updated_at.toISOString(),
  };
}

export function toCommandEvent(row: CommandSummaryRow): LiveEvent {
  return {
    type: 'command',
    userId: row.user_id,
    command: {
      id: row.command_id,
      agentId: row.agent_id,
      sessionId: row.session_id,
      action: row.action,
      status: row.status,
      errorCode: row.error_code,
      errorMessage: row.error_message,
      updatedAt: row.updated_at.toISOString(),
    },
  };
}

export function toSessionEvent(row: SessionRow): LiveEvent {
  const session = toSession(row);
  return { type: 'session', userId: session.userId, session };
}

function toText(time: Date | null): string | null {
  return time === null ? null : time.toISOString();
}
