export { AgentSelector, type AgentSelectorOptions, type Candidate } from './agent-selector.ts';
export { decodeCursor, InvalidCursorError, toPage } from './cursor.ts';
export { SessionError, type PassedOver, type SessionErrorCode } from './errors.ts';
export { scopedUserId, type Scope } from './scope.ts';
export {
  SessionService,
  type ChangeOptions,
  type CreateOptions,
  type SessionServiceOptions,
} from './session-service.ts';
export { SessionStore } from './session-store.ts';
export { TemplateStore } from './template-store.ts';
