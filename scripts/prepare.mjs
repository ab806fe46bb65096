/**
 * Runs before `npm start` and `npm test`: installs what package-lock.json says, builds what changed, and sees that a
 * Redis server is there (with --test also HAProxy). Plain Node, because nothing may be installed yet.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { env } from 'node:process';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const isForTests = process.argv.includes('--test');
const isCi = env.CI !== undefined && env.CI !== '' && env.CI !== 'false';

function say(message) {
  process.stdout.write(`prepare: ${message}\n`);
}

function fail(message) {
  process.stderr.write(`prepare: ${message}\n`);
  process.exit(1);
}

function readJson(path) {
  try {
    return JSON.parse(readFileSync(path, 'utf8'));
  } catch {
    return undefined;
  }
}

/**
 * Compares what npm installed (it keeps its own record) with what is locked, by content: times mean nothing in a fresh
 * clone or after a checkout. Optional packages are those of other platforms.
 */
function isInstalled() {
  const locked = readJson(join(root, 'package-lock.json'))?.packages;
  const installed = readJson(join(root, 'node_modules/.package-lock.json'))?.packages;
  if (!locked || !installed) return false;
  const isSame = ([path, entry]) => {
    if (path === '' || !path.includes('node_modules/')) return true;
    const found = installed[path];
    if (!found) return entry.optional === true;
    return found.version === entry.version && found.resolved === entry.resolved;
  };
  return (
    Object.entries(locked).every(isSame) &&
    Object.keys(installed).every((path) => locked[path]) &&
    existsSync(join(root, 'node_modules/typescript'))
  );
}

// What npm hands to its scripts describes the outer command (its prefix, its workspace, what it omits), not the
// install that is started here.
const LEAKING =
  /^npm_(config_(local_prefix|global_prefix|prefix|global|workspaces?|include_workspace_root|omit|include|only|production|dev|dry_run|json|loglevel|silent|if_present)|lifecycle_.*|package_.*|command)$/i;

function installEnvironment() {
  const kept = Object.entries(env).filter(([name]) => !LEAKING.test(name));
  return { ...Object.fromEntries(kept), NODE_ENV: 'development' };
}

function install() {
  say('installing packages (npm ci)');
  const npm = env.npm_execpath ?? '';
  const [command, first] = /npm-cli\.c?js$/.test(npm) ? [process.execPath, [npm]] : ['npm', []];
  const args = [...first, 'ci', '--include=dev', '--no-audit', '--no-fund'];
  const { status, error } = spawnSync(command, args, {
    cwd: root,
    env: installEnvironment(),
    stdio: 'inherit',
  });
  if (status !== 0) fail(`npm ci failed${error ? `: ${error.message}` : ''}`);
}

function build() {
  const tsc = join(root, 'node_modules/typescript/bin/tsc');
  const { status } = spawnSync(process.execPath, [tsc, '-b'], { cwd: root, stdio: 'inherit' });
  if (status !== 0) fail('the build failed (npx tsc -b)');
}

function isRunnable(name, versionArgument) {
  return [name, `/usr/sbin/${name}`, `/usr/local/sbin/${name}`, `/opt/homebrew/bin/${name}`].some(
    (candidate) => spawnSync(candidate, [versionArgument], { stdio: 'ignore' }).status === 0,
  );
}

function canUseApt() {
  return process.getuid?.() === 0 && isRunnable('apt-get', '--version');
}

const POLICY = '/usr/sbin/policy-rc.d';

/** Debian starts a packaged service when it is installed, on the default port, unless this policy forbids it. */
function withoutStartingServices(work) {
  const isOurs = !existsSync(POLICY);
  if (isOurs) writeFileSync(POLICY, '#!/bin/sh\nexit 101\n', { mode: 0o755 });
  try {
    return work();
  } finally {
    if (isOurs) rmSync(POLICY, { force: true });
  }
}

function aptGet(...args) {
  return spawnSync('apt-get', ['-qq', '-o', 'DPkg::Lock::Timeout=120', ...args], {
    env: { ...env, DEBIAN_FRONTEND: 'noninteractive' },
    stdio: ['ignore', 'ignore', 'inherit'],
  }).status;
}

function aptInstall(packageName) {
  say(`installing ${packageName} (apt-get)`);
  return withoutStartingServices(() => {
    const args = ['install', '-y', '--no-install-recommends', packageName];
    if (aptGet(...args) === 0) return true;
    return aptGet('update') === 0 && aptGet(...args) === 0;
  });
}

function disableService(unit) {
  if (existsSync('/run/systemd/system'))
    spawnSync('systemctl', ['disable', '--now', unit], { stdio: 'ignore' });
}

function hasRedis() {
  return isRunnable('redis-server', '--version') || isRunnable('valkey-server', '--version');
}

function ensureRedis() {
  const isRequired = isForTests || !env.REDIS_URL;
  if (!isRequired || hasRedis()) return;
  if (canUseApt() && aptInstall('redis-server') && hasRedis()) {
    disableService('redis-server');
    return;
  }
  fail(
    'no Redis server found. Install redis-server or valkey-server (Debian, Ubuntu: sudo apt-get install redis-server; ' +
      'macOS: brew install redis)' +
      (isForTests ? '.' : ', or set REDIS_URL to one that runs.'),
  );
}

function ensureHaproxy() {
  if (isRunnable('haproxy', '-v')) return;
  if (canUseApt() && aptInstall('haproxy') && isRunnable('haproxy', '-v')) {
    disableService('haproxy');
    return;
  }
  if (isCi) fail('no HAProxy found, and in CI the tests run behind it: install haproxy.');
  say('HAProxy is not installed: the tests use the built-in load balancer instead.');
}

if (!isInstalled()) install();
ensureRedis();
if (isForTests) ensureHaproxy();
build();
