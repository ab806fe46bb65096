export {
  startFaultProxy,
  type Fault,
  type FaultDirection,
  type FaultProxy,
  type FaultProxyOptions,
} from './fault-proxy.ts';
export {
  createTestDatabase,
  type TestDatabase,
  type TestDatabaseOptions,
} from './test-database.ts';
export {
  createTestRedis,
  startTestRedis,
  testProcessRegistry,
  type TestRedis,
} from './test-redis.ts';
export { startTestRun, type TestRun } from './test-run.ts';
export { testEnvironment, type TestEnvironment } from './test-environment.ts';
