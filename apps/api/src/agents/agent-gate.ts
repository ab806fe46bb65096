import type { AgentReply } from '@streamspace/protocol';

/** What the routes need of the hub, which reaches an agent on whichever replica it is. */
export interface AgentGate {
  /** Request and reply, live; a time-out means unknown. */
  request(
    agentId: string,
    kind: string,
    payload: Record<string, unknown>,
    options: { readonly timeoutMs: number },
  ): Promise<AgentReply>;
  /** Cuts what was connected with these keys. */
  revokeKeys(keyIds: readonly string[]): void;
  cutDeletedAgent(agentId: string): void;
}
