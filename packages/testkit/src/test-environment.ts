/** What the run's global setup leaves for the test files, in the environment that jest's workers inherit. */
export interface TestEnvironment {
  /** Names everything this run creates, so that a run on somebody's server can be told from another. */
  readonly runId: string;
  readonly runDir: string;
  readonly postgresUrl: string;
  readonly templateDatabase: string;
  readonly redisUrl: string;
}

const variables: Record<keyof TestEnvironment, string> = {
  runId: 'STREAMSPACE_TEST_RUN_ID',
  runDir: 'STREAMSPACE_TEST_RUN_DIR',
  postgresUrl: 'STREAMSPACE_TEST_POSTGRES_URL',
  templateDatabase: 'STREAMSPACE_TEST_TEMPLATE_DATABASE',
  redisUrl: 'STREAMSPACE_TEST_REDIS_URL',
};

export function publishTestEnvironment(environment: TestEnvironment): void {
  process.env[variables.runId] = environment.runId;
  process.env[variables.runDir] = environment.runDir;
  process.env[variables.postgresUrl] = environment.postgresUrl;
  process.env[variables.templateDatabase] = environment.templateDatabase;
  process.env[variables.redisUrl] = environment.redisUrl;
}

function read(key: keyof TestEnvironment): string {
  const value = process.env[variables[key]];
  if (value === undefined)
    throw new Error(`${variables[key]} is not set: run the tests through jest at the root`);
  return value;
}

export function testEnvironment(): TestEnvironment {
  return {
    runId: read('runId'),
    runDir: read('runDir'),
    postgresUrl: read('postgresUrl'),
    templateDatabase: read('templateDatabase'),
    redisUrl: read('redisUrl'),
  };
}
