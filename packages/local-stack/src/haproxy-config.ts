import { readFileSync } from 'node:fs';
import type { Backend } from './tcp-balancer.ts';

const WANTED_CONNECTIONS = 20_000;
// Listeners, health checks, logs: measured, 17 with one backend.
const OTHER_FILES = 200;
const HARD_LIMIT_COLUMN = 4;

/** HAProxy takes two files a connection, and refuses to start when the system does not allow that many. */
function maxConnections(): number {
  let hardLimit: number;
  try {
    const line = /^Max open files.*$/m.exec(readFileSync('/proc/self/limits', 'utf8'))?.[0] ?? '';
    hardLimit = Number(line.split(/\s+/)[HARD_LIMIT_COLUMN]);
  } catch {
    hardLimit = 4_096;
  }
  if (Number.isNaN(hardLimit)) return WANTED_CONNECTIONS;
  return Math.min(WANTED_CONNECTIONS, Math.floor((hardLimit - OTHER_FILES) / 2));
}

/**
 * A request is sent once: HAProxy tries another backend only when it could not connect, so nothing runs twice, and a
 * replica that was killed costs no request that had not reached it. `http-server-close` keeps no idle connection to a
 * backend that could die unnoticed between two requests. A backend that accepts and does not answer, frozen for example, is
 * out of rotation after 0.4 + 1 + 0.1 + 1 s at the latest. A backend that goes down keeps its connections (no
 * `on-marked-down shutdown-sessions`): a replica that drains is not ready either, and its agents leave in their time.
 */
export function haproxyConfig(options: {
  readonly host: string;
  readonly port: number;
  readonly backends: readonly Backend[];
  readonly healthPath: string;
}): string {
  const { host, port, backends, healthPath } = options;
  const servers = backends.map(
    (backend, index) => `  server backend-${index + 1} ${backend.host}:${backend.port}`,
  );
  return `global
  log stdout format raw local0 info
  maxconn ${maxConnections()}
  hard-stop-after 30s

defaults
  log global
  mode http
  option httplog
  option dontlognull
  option forwardfor
  option http-server-close
  option redispatch 1
  retries 3
  retry-on conn-failure
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  timeout tunnel 1h
  timeout client-fin 30s
  timeout check 1s

frontend streamspace
  bind ${host}:${port}
  monitor-uri /haproxy-ready
  default_backend replicas

backend replicas
  balance roundrobin
  option httpchk GET ${healthPath}
  default-server check inter 400ms fastinter 100ms fall 2 rise 1
${servers.join('\n')}
`;
}
