import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:net';

// Below the range that the kernel takes for outgoing connections (32768 and up on Linux): while a killed server is
// down, no client's socket can occupy the port that the server comes back to.
const LOWEST_PORT = 10_000;
const HIGHEST_PORT = 30_000;
const MAX_TRIES = 100;

/** Whether something could listen on this port of the loopback interface now. */
export async function isPortFree(port: number, host = '127.0.0.1'): Promise<boolean> {
  const server = createServer();
  try {
    server.listen(port, host);
    await once(server, 'listening');
    return true;
  } catch {
    return false;
  } finally {
    server.close();
  }
}

/** A loopback port that nothing listens on; the preferred one if that is free. */
export async function freePort(preferred?: number): Promise<number> {
  if (preferred !== undefined && (await isPortFree(preferred))) return preferred;
  for (let attempt = 0; attempt < MAX_TRIES; attempt++) {
    const port = randomInt(LOWEST_PORT, HIGHEST_PORT);
    if (await isPortFree(port)) return port;
  }
  throw new Error(`no free port between ${LOWEST_PORT} and ${HIGHEST_PORT}`);
}
