import type { TemplateSpec } from '@streamspace/protocol';

const helloScript = [
  "const { hostname } = require('node:os');",
  'const env = process.env;',
  "const text = (value) => String(value ?? '').replace(/[&<>\"]/g, (c) => '&#' + c.charCodeAt(0) + ';');",
  "const row = (name, value) => '<tr><th>' + name + '<td>' + text(value);",
  'const page = () => \'<!doctype html><html lang="en"><meta charset="utf-8">\'',
  '  + \'<meta name="viewport" content="width=device-width"><title>Hello from StreamSpace</title>\'',
  "  + '<style>body{font:16px system-ui;margin:15vh auto;max-width:32rem;padding:0 1rem;color:#1d2433;background:#f5f7fb}'",
  "  + 'table{width:100%;border-collapse:collapse;background:#fff;border-radius:8px}'",
  "  + 'th,td{text-align:left;padding:.6rem 1rem;border-bottom:1px solid #e6eaf2}th{width:6rem;color:#5b6780}</style>'",
  "  + '<h1>Hello</h1><p>This page is served by a session.</p><table>'",
  "  + row('Session', env.STREAMSPACE_SESSION_ID) + row('Host', hostname())",
  "  + row('User', env.STREAMSPACE_USER_ID) + row('Time', new Date().toISOString()) + '</table>';",
  "require('node:http').createServer((request, response) => {",
  "  response.setHeader('content-type', 'text/html; charset=utf-8');",
  '  response.end(page());',
  '}).listen(Number(env.PORT), env.SESSION_HOST);',
].join('\n');

const desktopScript = [
  'Xvnc ":$DISPLAY_NUMBER" -rfbport "$PORT" -interface "$SESSION_HOST" -SecurityTypes None -AlwaysShared \\',
  '  -geometry "${GEOMETRY:-1280x800}" -depth 24 -desktop StreamSpace &',
  'server=$!',
  'export DISPLAY=":$DISPLAY_NUMBER"',
  'while ! [ -S "/tmp/.X11-unix/X$DISPLAY_NUMBER" ]; do kill -0 "$server" || exit 1; sleep 0.1; done',
  // Openbox loses the window of an xterm that comes while it starts itself.
  'openbox --startup "xterm -geometry 100x30+60+60 -fa Monospace -fs 11" &',
  'wait "$server"',
].join('\n');

/** As they are seeded in the control plane's database. */
export const helloWeb: TemplateSpec = {
  displayName: 'Hello web',
  description: 'A web page that says which session serves it. Needs only Node.',
  protocol: 'http',
  ports: [{ name: 'web', port: 8080 }],
  platforms: { process: { command: ['node', '-e', helloScript] } },
};

export const desktop: TemplateSpec = {
  displayName: 'Desktop',
  description: 'A small desktop with a terminal: Xvnc, openbox, xterm.',
  protocol: 'vnc',
  ports: [{ name: 'vnc', port: 5900 }],
  platforms: { process: { command: ['sh', '-c', desktopScript] } },
  agentLabels: { desktop: 'true' },
};
