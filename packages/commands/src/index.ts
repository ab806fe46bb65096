export type { AgentNotices, Doorbell, LiveEventPublisher, Ring } from './collaborators.ts';
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
export {
  CommandDispatcher,
  type CommandDispatcherOptions,
  type DispatcherCounters,
} from './command-dispatcher.ts';
export { GlobalSweep, type GlobalSweepOptions } from './global-sweep.ts';
export { InventoryReconciler } from './inventory-reconciler.ts';
