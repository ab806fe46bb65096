import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../../../', import.meta.url));

/** They need an answer of every replica; see docs/adr/0002. */
const forbidden =
  /\b(fetchSockets|serverSideEmitWithAck|emitWithAck|allSockets|broadcast\.timeout)\b/;
/** A time-out after a room, namespace or server has been chosen is a room's ack. */
const roomAck = /\.(to|in|except|of)\([^)]*\)\s*\.timeout\(/;

const controlPlane = ['apps/api', 'packages/agent-hub', 'packages/commands', 'packages/sessions'];

function sourcesOf(workspace: string): readonly string[] {
  return readdirSync(join(root, workspace, 'src'), { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith('.ts'))
    .map((path) => join(workspace, 'src', path));
}

describe('the control plane asks no room for acks', () => {
  it.each(controlPlane)('%s calls nothing that waits for every replica', (workspace) => {
    const sources = sourcesOf(workspace);
    expect(sources.length).toBeGreaterThan(5);
    const offenders = sources.filter((path) => {
      const text = readFileSync(join(root, path), 'utf8');
      return forbidden.test(text) || roomAck.test(text);
    });
    expect(offenders).toEqual([]);
  });

  it.each([
    'await namespace.to(room).emitWithAck("x")',
    'io.of("/agents").timeout(1000).emit("x", ack)',
    'await namespace.in("room").fetchSockets()',
  ])('recognises %s', (line) => {
    expect(forbidden.test(line) || roomAck.test(line)).toBe(true);
  });
});
