export type { Doorbell, LiveEventPublisher, Ring } from './collaborators.ts';
export { newCommandId } from './command-id.ts';
export {
  announceFinished,
  CommandQueue,
  parseStoredAnswer,
  type AgentCommandAnswer,
  type CancelAnswer,
  type ChangeAnswer,
  type ChangeRequest,
  type CommandQueueOptions,
  type IdempotencyEntry,
  type StartAnswer,
  type StartRequest,
} from './command-queue.ts';
