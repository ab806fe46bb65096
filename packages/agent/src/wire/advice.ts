/** What an operator should do about a refusal or a closing, by its code. */
const ADVICE: Readonly<Record<string, string>> = {
  invalid_hello:
    'The control plane cannot read what this agent says of itself: check labels, region and capacity.',
  unsupported_protocol:
    'Agent and control plane speak different versions of the protocol: upgrade the older one.',
  unauthorized: 'Agent id or key is wrong or revoked: check AGENT_ID and the key, or rotate it.',
  not_approved: 'The agent is known and not approved yet: approve it in the control plane.',
  duplicate_identity:
    'Another host uses the same agent id: give each agent an identity of its own.',
  busy: 'The control plane admits agents more slowly just now: nothing to do.',
  unavailable: 'The control plane cannot reach its database: nothing to do here.',
  draining: 'This replica is shutting down: the next attempt reaches another one.',
  superseded:
    'Another connection with this agent’s identity took over; if that is no other process of this host, give each agent an identity of its own.',
  key_revoked: 'The key was revoked: give the agent the new one.',
  agent_deleted: 'The agent was deleted in the control plane: stop it, or create it again.',
  unresponsive:
    'The control plane had no acknowledgement from this agent: nothing to do if it is rare.',
};

export function adviceFor(code: string): string {
  return ADVICE[code] ?? 'The control plane gives a reason that this agent does not know.';
}
