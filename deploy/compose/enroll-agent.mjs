// Creates the agent and leaves its key where the agent reads it; does nothing when the key is there.
import { existsSync, renameSync, writeFileSync } from 'node:fs';

const { STREAMSPACE_URL, STREAMSPACE_ADMIN_TOKEN, AGENT_ID, AGENT_KEY_FILE } = process.env;
if (existsSync(AGENT_KEY_FILE)) process.exit(0);

async function post(path, body) {
  const response = await fetch(`${STREAMSPACE_URL}/api/v1/agents${path}`, {
    method: 'POST',
    headers: {
      authorization: `Bearer ${STREAMSPACE_ADMIN_TOKEN}`,
      'content-type': 'application/json',
    },
    body: JSON.stringify(body),
  });
  return { status: response.status, body: await response.json() };
}

let answer = await post('', { agentId: AGENT_ID, platform: 'process' });
// It exists, and its key is lost: shown once, stored nowhere.
if (answer.status === 409) answer = await post(`/${AGENT_ID}/rotate-key`, { graceSeconds: 0 });
if (!answer.body.key) {
  process.stderr.write(
    `enrolling agent ${AGENT_ID} failed: ${answer.status} ${JSON.stringify(answer.body)}\n`,
  );
  process.exit(1);
}
writeFileSync(`${AGENT_KEY_FILE}.new`, answer.body.key, { mode: 0o600 });
renameSync(`${AGENT_KEY_FILE}.new`, AGENT_KEY_FILE);
