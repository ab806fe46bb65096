import { execFile } from 'node:child_process';
import { cp, mkdir, mkdtemp, readFile, rm, symlink, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { repositoryRoot } from '@streamspace/local-stack';

const run = promisify(execFile);

let checkout: string;
let programs: string;

/** A checkout with everything installed, whose compiler and package manager only write down that they were called. */
beforeEach(async () => {
  checkout = await mkdtemp(join(tmpdir(), 'streamspace-prepare-'));
  programs = join(checkout, 'programs');
  await mkdir(join(checkout, 'scripts'));
  await mkdir(join(checkout, 'node_modules/typescript/bin'), { recursive: true });
  await mkdir(programs);
  await cp(join(repositoryRoot, 'scripts/prepare.mjs'), join(checkout, 'scripts/prepare.mjs'));
  for (const program of ['redis-server', 'haproxy']) await addProgram(program, 'exit 0');
  await addProgram('npm', `echo "npm $*" >> "${checkout}/calls"`);
  await symlink(process.execPath, join(programs, 'node'));
  await writeFile(
    join(checkout, 'node_modules/typescript/bin/tsc'),
    `require('node:fs').appendFileSync(${JSON.stringify(join(checkout, 'calls'))}, 'tsc\\n')`,
  );
  const packages = { 'node_modules/typescript': { version: '7.0.2' } };
  await writeJson('node_modules/.package-lock.json', { packages });
  await writeJson('package-lock.json', {
    packages: {
      '': { name: 'x' },
      ...packages,
      'node_modules/for-another-platform': { version: '1.0.0', optional: true },
    },
  });
});

afterEach(async () => {
  await rm(checkout, { recursive: true, force: true });
});

async function addProgram(name: string, script: string): Promise<void> {
  await writeFile(join(programs, name), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
}

async function writeJson(path: string, content: unknown): Promise<void> {
  await writeFile(join(checkout, path), JSON.stringify(content));
}

async function prepare(env: Record<string, string> = {}): Promise<string> {
  const { stdout } = await run('node', ['scripts/prepare.mjs', '--test'], {
    cwd: checkout,
    env: { PATH: `${programs}:/usr/bin:/bin`, ...env },
  });
  return stdout;
}

async function calls(): Promise<string[]> {
  return (await readFile(join(checkout, 'calls'), 'utf8')).trim().split('\n');
}

it('says nothing and installs nothing when all is there, however often it runs', async () => {
  expect(await prepare()).toBe('');
  expect(await prepare()).toBe('');
  expect(await calls()).toEqual(['tsc', 'tsc']);
});

it('takes no notice of the times of files', async () => {
  const later = new Date(Date.now() + 3_600_000);
  await utimes(join(checkout, 'package-lock.json'), later, later);
  expect(await prepare()).toBe('');
});

it('installs when another version is locked', async () => {
  await writeJson('package-lock.json', {
    packages: { 'node_modules/typescript': { version: '7.0.3' } },
  });
  expect(await prepare()).toContain('installing packages');
  expect(await calls()).toEqual(['npm ci --include=dev --no-audit --no-fund', 'tsc']);
});

it('installs when something is there that is locked no more', async () => {
  await writeJson('node_modules/.package-lock.json', {
    packages: {
      'node_modules/typescript': { version: '7.0.2' },
      'node_modules/removed': { version: '1.0.0' },
    },
  });
  expect(await prepare()).toContain('installing packages');
});

it('keeps what npm says about its own run from the install', async () => {
  await addProgram('npm', `env | grep -i npm_ >> "${checkout}/calls"; true`);
  await writeJson('node_modules/.package-lock.json', {});
  await prepare({
    npm_config_omit: 'dev',
    npm_config_local_prefix: '/elsewhere',
    npm_lifecycle_event: 'prestart',
    npm_config_cache: '/cache',
  });
  expect(await calls()).toEqual(['npm_config_cache=/cache', 'tsc']);
});

it('fails when the build fails', async () => {
  await writeFile(join(checkout, 'node_modules/typescript/bin/tsc'), 'process.exit(2)');
  await expect(prepare()).rejects.toThrow('the build failed');
});
