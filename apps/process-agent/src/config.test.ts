import { describe, expect, test } from '@jest/globals';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadConfig } from './config.ts';

const minimal = { STREAMSPACE_URL: 'https://example.com', AGENT_ID: 'a1', AGENT_KEY: 'secret' };

describe('the configuration', () => {
  test('needs address, id and key, and has a default for everything else', () => {
    expect(loadConfig(minimal)).toMatchObject({
      url: 'https://example.com',
      agentId: 'a1',
      labels: {},
      maxSessions: 20,
      sessionHost: '127.0.0.1',
      logLevel: 'info',
    });
  });

  test('reads labels as k=v,k=v, and an empty variable as none', () => {
    const labels = 'disk=fast, zone=a ,empty=,';
    const config = loadConfig({ ...minimal, AGENT_LABELS: labels, AGENT_REGION: '' });
    expect(config.labels).toEqual({ disk: 'fast', zone: 'a', empty: '' });
    expect(config.region).toBeUndefined();
  });

  test('reads the key from a file, and never prints it', () => {
    const directory = mkdtempSync(join(tmpdir(), 'config-test-'));
    const file = join(directory, 'key');
    writeFileSync(file, 'from-a-file\n');
    const config = loadConfig({ ...minimal, AGENT_KEY: '', AGENT_KEY_FILE: file });
    expect(config.key.reveal()).toBe('from-a-file');
    expect(`${JSON.stringify(config)} ${String(config.key)}`).not.toContain('from-a-file');
    rmSync(directory, { recursive: true });
  });

  test('names every variable that is wrong', () => {
    const wrong = {
      STREAMSPACE_URL: 'ftp://x',
      AGENT_ID: '-',
      AGENT_LABELS: 'x',
      MAX_SESSIONS: '-1',
    };
    let message = '';
    try {
      loadConfig(wrong);
    } catch (error) {
      message = String(error);
    }
    for (const name of [...Object.keys(wrong), 'AGENT_KEY']) expect(message).toContain(name);
  });
});
