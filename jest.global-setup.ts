import { startTestRun, type TestRun } from '@streamspace/testkit';

declare global {
  // Jest runs setup and teardown in one process and hands nothing from one to the other.
  var streamspaceTestRun: TestRun | undefined;
}

export default async function globalSetup(): Promise<void> {
  globalThis.streamspaceTestRun = await startTestRun(process.env);
}
