import type { CreateTemplate } from '@streamspace/protocol';
import type { Knex } from 'knex';

const HELLO_WEB = `
const { createServer } = require('node:http');
const escape = (text) => String(text ?? '').replace(/[&<>"']/g, (c) => '&#' + c.charCodeAt(0) + ';');
const { PORT, STREAMSPACE_SESSION_ID: id, STREAMSPACE_USER_ID: user } = process.env;
createServer((request, response) => {
  response.setHeader('content-type', 'text/html; charset=utf-8');
  response.end('<!doctype html><html lang="en"><title>StreamSpace</title>'
    + '<style>body{font:1.1rem/1.6 system-ui;display:grid;place-items:center;min-height:100vh;margin:0;'
    + 'background:#10141f;color:#e8ecf5}main{padding:2rem 3rem;border-radius:1rem;background:#1b2233}'
    + 'dt{color:#8fa0c4;font-size:.8rem}dd{margin:0 0 .8rem}</style>'
    + '<main><h1>Hello from your session</h1><dl><dt>session</dt><dd>' + escape(id)
    + '</dd><dt>user</dt><dd>' + escape(user)
    + '</dd><dt>host</dt><dd>' + escape(require('node:os').hostname())
    + '</dd><dt>time</dt><dd>' + new Date().toISOString() + '</dd></dl></main></html>');
}).listen(PORT, process.env.SESSION_HOST ?? '127.0.0.1');
`;

/** Ends when Xvnc ends; everything is in one process group. */
const DESKTOP = `
Xvnc ":$DISPLAY_NUMBER" -rfbport "$PORT" -interface "$SESSION_HOST" -SecurityTypes None \\
  -geometry "\${GEOMETRY:-1280x800}" -depth 24 -AlwaysShared -desktop StreamSpace &
xvnc=$!
export DISPLAY=":$DISPLAY_NUMBER"
until [ -S "/tmp/.X11-unix/X$DISPLAY_NUMBER" ]; do kill -0 $xvnc || exit 1; sleep 0.05; done
# Started by openbox: it loses a window that appears while it is starting itself.
openbox --startup "xterm -geometry 100x30+60+60 -fa Monospace -fs 11" &
wait $xvnc
`;

export const builtinTemplates: readonly CreateTemplate[] = [
  {
    name: 'hello-web',
    displayName: 'Hello, web',
    description: 'A page that shows session, host and time. Needs only Node.',
    protocol: 'http',
    ports: [{ name: 'http', port: 8080 }],
    platforms: { process: { command: ['node', '-e', HELLO_WEB] } },
  },
  {
    name: 'desktop',
    displayName: 'Desktop',
    description: 'Xvnc, openbox and an xterm, for agents that have them.',
    protocol: 'vnc',
    ports: [{ name: 'vnc', port: 5900 }],
    platforms: { process: { command: ['sh', '-c', DESKTOP] } },
    agentLabels: { desktop: 'true' },
  },
];

export async function up(knex: Knex): Promise<void> {
  for (const { name, ...spec } of builtinTemplates)
    await knex('templates')
      .insert({ name, spec: JSON.stringify(spec) })
      .onConflict('name')
      .ignore();
}
