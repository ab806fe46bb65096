import { loadConfig } from '../src/config.ts';

const needed = {
  DATABASE_URL: 'postgres://user:db-secret@localhost/db',
  REDIS_URL: 'redis://:redis-secret@localhost',
};

it('needs two addresses and has a value for the rest', () => {
  expect(loadConfig(needed)).toMatchObject({
    http: { host: '0.0.0.0', port: 8080, internalPort: undefined },
    redis: { prefix: 'ss' },
    adminToken: undefined,
    queue: { maxQueuedPerAgent: 1000, expiresInMs: 86_400_000 },
    agents: { lostAfterMs: 86_400_000, window: 32, helloRatePerSecond: 200 },
    drain: { delayMs: 5000 },
  });
});

it('takes what is set to nothing for not set', () => {
  expect(loadConfig({ ...needed, PORT: '', INTERNAL_PORT: '', INTERNAL_URL: '' })).toMatchObject({
    http: { port: 8080, internalPort: undefined },
    replica: { address: null },
  });
});

it('reads times in seconds', () => {
  expect(loadConfig({ ...needed, COMMAND_EXPIRES_IN: '2', DRAIN_DELAY: '0.5' })).toMatchObject({
    queue: { expiresInMs: 2000 },
    drain: { delayMs: 500 },
  });
});

const wrong = {
  DATABASE_URL: 'mysql://user:db-secret@localhost/db',
  REDIS_URL: 'not a url redis-secret',
  PORT: 'eighty',
  LOG_LEVEL: 'loud',
  STREAMSPACE_ADMIN_TOKEN: 'admin secret',
  REDIS_PREFIX: 'a b',
};
const load = () => loadConfig(wrong);

it('names everything that is wrong at once, and shows no value', () => {
  expect(load).toThrow('invalid configuration');
  for (const name of [
    'DATABASE_URL',
    'REDIS_URL',
    'PORT',
    'LOG_LEVEL',
    'STREAMSPACE_ADMIN_TOKEN',
    'REDIS_PREFIX',
  ])
    expect(load).toThrow(new RegExp(`^ {2}${name}: `, 'm'));
  expect(load).not.toThrow(/secret/);
});
