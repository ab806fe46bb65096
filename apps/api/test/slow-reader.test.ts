import { connect } from 'node:net';
import { ADMIN_TOKEN, createTestAgent, eventually, startTestApi } from './test-api.ts';

it('closes an event stream whose client does not read, and no other', async () => {
  await using test = await startTestApi();
  const agentId = await createTestAgent(test.db);
  const { events } = test.api.app;
  const socket = connect(Number(new URL(test.api.url).port), '127.0.0.1');
  socket.on('error', () => undefined);
  socket.write(
    `GET /api/v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${ADMIN_TOKEN}\r\n\r\n`,
  );
  await eventually(() => expect(events.clientCount).toBe(1));
  socket.pause();
  const abort = new AbortController();
  const reader = test.client().events({ signal: abort.signal });
  await reader.next();
  const { session } = await test.client().sessions.create({ template: 'hello-web', agentId });
  const name = 'x'.repeat(60_000);
  const big = { type: 'session', userId: 'admin', session: { ...session, name } } as const;
  let count = 0;
  const reading = (async () => {
    for await (const notice of reader) if (notice.type === 'event') count += 1;
  })();
  await eventually(() => {
    events.publish([big]);
    expect(events.clientCount).toBe(1);
  }, 20_000);
  const seen = count;
  events.publish([big]);
  await eventually(() => expect(count).toBeGreaterThan(seen));
  const { body } = await test.api.call('/metrics');
  expect(body).toContain('streamspace_event_clients_dropped_total 1');
  abort.abort();
  await reading;
  socket.destroy();
}, 30_000);
