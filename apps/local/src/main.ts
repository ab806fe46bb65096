import { join } from 'node:path';
import { AlreadyRunningError, repositoryRoot } from '@streamspace/local-stack';
import { LocalSystem, StartRefusedError } from './local-system.ts';
import { parseOptions } from './options.ts';

// A terminal's Ctrl-C reaches this process directly and once more through npm, which passes it on.
const SAME_SIGNAL_WITHIN_MS = 500;

const print = (line: string): void => {
  process.stdout.write(`${line}\n`);
};
// The reader of a pipe may be gone; the system runs on.
process.stdout.on('error', () => undefined);

function fail(error: unknown): never {
  const isForPeople = error instanceof AlreadyRunningError || error instanceof StartRefusedError;
  const detail = error instanceof Error && !isForPeople ? error.stack : String(error);
  const text = isForPeople ? error.message : (detail ?? String(error));
  process.stderr.write(`npm start: ${text}\n`);
  process.exit(1);
}

function createSystem(): LocalSystem {
  const stateDir = process.env['STREAMSPACE_STATE_DIR'] ?? join(repositoryRoot, '.streamspace');
  try {
    return new LocalSystem({
      ...parseOptions(process.argv),
      stateDir,
      env: process.env,
      print,
    });
  } catch (error) {
    return fail(error);
  }
}

const system = createSystem();
let firstSignalAt: number | undefined;

async function stop(): Promise<void> {
  print('\nStopping (once more to stop at once):');
  await system.stop();
  process.exit(0);
}

function onSignal(): void {
  if (firstSignalAt === undefined) {
    firstSignalAt = performance.now();
    void stop().catch(fail);
  } else if (performance.now() - firstSignalAt > SAME_SIGNAL_WITHIN_MS) {
    system.kill();
    process.exit(1);
  }
}

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, onSignal);
process.on('exit', () => system.kill());

try {
  await system.start();
} catch (error) {
  if (firstSignalAt === undefined) fail(error);
}
