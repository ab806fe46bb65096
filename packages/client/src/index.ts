export {
  createClient,
  type AgentsClient,
  type Client,
  type CommandsClient,
  type SessionsClient,
  type TemplatesClient,
} from './client.ts';
export type { CallerOptions, CallOptions, ChangeOptions } from './http-caller.ts';
export type { EventsOptions, Notice } from './live-events.ts';
export { ProblemError } from './problem-error.ts';
