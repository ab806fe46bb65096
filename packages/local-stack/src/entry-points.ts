import { fileURLToPath } from 'node:url';

/** The checkout this package is in: `packages/local-stack/src` and `packages/local-stack/dist` are equally deep. */
export const repositoryRoot = fileURLToPath(new URL('../../..', import.meta.url)).replace(
  /\/$/,
  '',
);

/** The processes' built programs: this package runs the apps, it does not import them. */
export const entryPoints = {
  migrate: `${repositoryRoot}/apps/api/dist/migrate.js`,
  api: `${repositoryRoot}/apps/api/dist/main.js`,
  processAgent: `${repositoryRoot}/apps/process-agent/dist/main.js`,
} as const;
