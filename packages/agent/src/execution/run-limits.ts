/**
 * How long an action may run, in milliseconds; what is not here has no limit. The control plane sets
 * none of its own: once a command was delivered, only the agent ends it.
 */
export const RUN_LIMITS_MS: Readonly<Record<string, number>> = {
  start_session: 15 * 60_000,
  wake_session: 15 * 60_000,
  hibernate_session: 5 * 60_000,
};
