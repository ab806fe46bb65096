import { spawnSync } from 'node:child_process';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export type Python =
  | { readonly kind: 'ready'; readonly executable: string }
  | { readonly kind: 'missing'; readonly reason: string };

/** As docs/examples/python-agent.py says. */
const PACKAGES = ['python-socketio[client]', 'websocket-client'];
const STEP_TIMEOUT_MS = 90_000;

/** A Python of its own with what the example agent needs; the directory goes with the run. */
export function preparePython(): Python {
  const directory = mkdtempSync(join(tmpdir(), 'streamspace-python-'));
  const executable = join(directory, 'bin', 'python');
  const steps: readonly (readonly [string, ...string[]])[] = [
    ['python3', '-m', 'venv', directory],
    [executable, '-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', ...PACKAGES],
    [executable, '-c', 'import socketio, websocket'],
  ];
  for (const [command, ...args] of steps) {
    const { status, error, stderr } = spawnSync(command, args, {
      encoding: 'utf8',
      timeout: STEP_TIMEOUT_MS,
    });
    if (status !== 0) {
      const why = error?.message ?? stderr.trim().split('\n').at(-1) ?? '';
      return { kind: 'missing', reason: `${command} ${args.slice(0, 2).join(' ')}: ${why}` };
    }
  }
  return { kind: 'ready', executable };
}
