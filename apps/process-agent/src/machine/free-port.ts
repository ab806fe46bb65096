import { createServer } from 'node:net';

/** Below Linux' ephemeral ports, from which outgoing connections would take one between choice and use. */
const FIRST_PORT = 20_000;
const PORTS = 12_000;
const ATTEMPTS = 200;

/** A port that nobody listens on and that is not in `taken`. */
export async function findFreePort(host: string, taken: ReadonlySet<number>): Promise<number> {
  for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
    const port = FIRST_PORT + Math.floor(Math.random() * PORTS);
    if (!taken.has(port) && (await isFree(host, port))) return port;
  }
  throw new Error(`no free port on ${host} between ${FIRST_PORT} and ${FIRST_PORT + PORTS - 1}`);
}

function isFree(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen({ host, port, exclusive: true }, () => server.close(() => resolve(true)));
  });
}
