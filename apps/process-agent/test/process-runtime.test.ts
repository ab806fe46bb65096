import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import {
  CommandAborted,
  isProcessAlive,
  type SessionToStart,
  type Started,
} from '@streamspace/agent';
import { existsSync } from 'node:fs';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { readProcessTable } from '../src/machine/process-table.ts';
import type { ProcessRuntime } from '../src/sessions/process-runtime.ts';
import { directoryNameOf } from '../src/sessions/session-store.ts';
import { eventually } from './eventually.ts';
import { helloWeb } from './templates.ts';
import { createTestMachine, specOf, webServer, type TestMachine } from './test-runtime.ts';

let machine: TestMachine;
let runtime: ProcessRuntime;
beforeEach(async () => {
  machine = await createTestMachine();
  runtime = await machine.restart();
});
afterEach(() => machine.cleanUp());

function session(spec = specOf(webServer()), sessionId = 's1', generation = 1): SessionToStart {
  return { sessionId, generation, commandId: `cmd_${sessionId}_${generation}`, spec };
}

interface Answer {
  readonly env: Record<string, string>;
  readonly pid: number;
  readonly cwd: string;
}

async function ask({ endpoint }: Started, path = '/'): Promise<Answer> {
  const response = await fetch(`http://${endpoint!.host}:${endpoint!.port}${path}`);
  return (await response.json()) as Answer;
}

describe('a start', () => {
  test('resolves when the port answers, with where it is', async () => {
    const started = await runtime.start(session(), machine.context);
    expect(started.endpoint).toEqual({ host: '127.0.0.1', port: expect.any(Number) });
    const { env, cwd } = await ask(started);
    expect(env['PORT']).toBe(String(started.endpoint!.port));
    expect(cwd).toBe(env['HOME']);
    expect(await runtime.inventory()).toEqual({
      complete: true,
      sessions: [{ sessionId: 's1', generation: 1, state: 'running' }],
    });
  });

  test('gives the session its own environment and nothing of the agent’s', async () => {
    process.env['AGENT_KEY'] = 'very-secret';
    const spec = specOf(webServer(), {
      platform: { command: webServer(), env: { GREETING: 'from the template', COLOUR: 'red' } },
      env: { GREETING: 'from the user', STREAMSPACE_SESSION_ID: 'forged' },
      ports: [
        { name: 'web', port: 1 },
        { name: 'side-door', port: 2 },
      ],
    });
    const { env } = await ask(await runtime.start(session(spec), machine.context));
    delete process.env['AGENT_KEY'];
    expect(env).toMatchObject({
      GREETING: 'from the user',
      COLOUR: 'red',
      STREAMSPACE_SESSION_ID: 's1',
      STREAMSPACE_GENERATION: '1',
      STREAMSPACE_TEMPLATE: 'test',
      STREAMSPACE_USER_ID: 'user-1',
      PORT_WEB: env['PORT'],
      SESSION_HOST: '127.0.0.1',
      HOST: '127.0.0.1',
      PORT_SIDE_DOOR: expect.any(String),
    });
    expect(env['PORT_SIDE_DOOR']).not.toBe(env['PORT']);
    expect(JSON.stringify(env)).not.toContain('very-secret');
    const ours = Object.keys(env).filter((name) => process.env[name] === env[name]);
    expect(ours.filter((name) => !['PATH', 'LANG'].includes(name))).toEqual([]);
  });

  test('of the hello-web template shows session, host, user and time', async () => {
    const spec = specOf([], { platform: helloWeb.platforms['process']! });
    const { endpoint } = await runtime.start(session(spec, 's<1>'), machine.context);
    const page = await (await fetch(`http://127.0.0.1:${endpoint!.port}/`)).text();
    expect(page).toContain('s&#60;1&#62;');
    expect(page).toContain('user-1');
    expect(page).toMatch(/20\d\d-\d\d-\d\dT/);
  });

  test('repeated under the same generation finds what runs and spawns nothing', async () => {
    const first = await ask(await runtime.start(session(), machine.context));
    const again = await ask(await runtime.start(session(), machine.context));
    expect(again.pid).toBe(first.pid);
    expect(machine.processes()).toHaveLength(1);
  });

  test('fails at once when the process ends before it is ready, and leaves nothing', async () => {
    const spec = specOf(['sh', '-c', 'echo no database >&2; exit 3']);
    await expect(runtime.start(session(spec), machine.context)).rejects.toMatchObject({
      code: 'process_exited',
      message: "The session's process ended with exit code 3; last line of its log: no database",
    });
    expect(await machine.sessionDirectories()).toEqual([]);
    expect(await runtime.inventory()).toEqual({ complete: true, sessions: [] });
  });

  test('fails with command_not_found when there is no such program', async () => {
    const spec = specOf(['no-such-program-anywhere']);
    await expect(runtime.start(session(spec), machine.context)).rejects.toMatchObject({
      code: 'command_not_found',
    });
    expect(await machine.sessionDirectories()).toEqual([]);
  });

  test('fails with port_silent when nothing answers in time, and everything is undone', async () => {
    const impatient = await createTestMachine({ readyWithinMs: 300 });
    const slow = await impatient.restart();
    const spec = specOf(['sh', '-c', 'sleep 60 & sleep 60']);
    await expect(slow.start(session(spec), impatient.context)).rejects.toMatchObject({
      code: 'port_silent',
    });
    expect(impatient.processes()).toEqual([]);
    expect(await impatient.sessionDirectories()).toEqual([]);
    await impatient.cleanUp();
  });

  test('that is aborted is undone, unless it is the agent that ends', async () => {
    for (const [reason, left] of [
      ['superseded', 0],
      ['stopping', 1],
    ] as const) {
      const controller = new AbortController();
      const spec = specOf(['sleep', '60']);
      const started = runtime.start(session(spec, reason), {
        ...machine.context,
        signal: controller.signal,
      });
      await eventually(() => machine.processes(reason).length === 1);
      controller.abort(new CommandAborted(reason));
      await expect(started).rejects.toMatchObject({ reason });
      expect(machine.processes(reason)).toHaveLength(left);
    }
  });

  test('of many sessions at once gives each its own port', async () => {
    const all = await Promise.all(
      Array.from({ length: 12 }, (_, index) =>
        runtime.start(session(specOf(webServer()), `s${index}`), machine.context),
      ),
    );
    expect(new Set(all.map(({ endpoint }) => endpoint!.port)).size).toBe(12);
  });
});

describe('a stop', () => {
  test('ends the whole group, grandchildren and those that left the group included', async () => {
    const setUp = `const { spawn } = require('node:child_process');
      spawn('sh', ['-c', 'sleep 300 & sleep 300'], { stdio: 'ignore' });
      spawn('setsid', ['sh', '-c', 'sleep 300 & sleep 300'], { stdio: 'ignore', detached: true }).unref();
      spawn('env', ['-i', '/bin/sleep', '300'], { stdio: 'ignore' })`;
    await runtime.start(session(specOf(webServer(setUp))), machine.context);
    await eventually(() => machine.processes().length >= 7);
    const marked = new Set(machine.processes());
    const all = readProcessTable().filter(
      ({ pid, parentPid }) => marked.has(pid) || marked.has(parentPid),
    );
    expect(all.length).toBeGreaterThan(marked.size); // one has no marker
    await runtime.stop(session());
    expect(all.filter(({ pid, startTime }) => isProcessAlive(pid, startTime))).toEqual([]);
    expect(await machine.sessionDirectories()).toEqual([]);
  });

  test('kills what does not want to end', async () => {
    const setUp = "process.on('SIGTERM', () => {})";
    await runtime.start(session(specOf(webServer(setUp))), machine.context);
    await runtime.stop(session());
    expect(machine.processes()).toEqual([]);
  }, 15_000);

  test('of what is not there resolves, also a second time', async () => {
    await runtime.stop(session());
    await runtime.start(session(), machine.context);
    await runtime.stop(session());
    await runtime.stop(session());
    expect(machine.observations).toEqual([]);
  });

  test('leaves other sessions, and other agents’ sessions of the same name, alone', async () => {
    const other = await createTestMachine();
    const otherRuntime = await other.restart();
    await otherRuntime.start(session(), other.context);
    await runtime.start(session(), machine.context);
    await runtime.start(session(specOf(webServer()), 's2'), machine.context);
    await runtime.stop(session());
    expect(other.processes()).toHaveLength(1);
    expect(machine.processes('s2')).toHaveLength(1);
    await other.cleanUp();
  });
});

describe('hibernation', () => {
  test('ends the processes, keeps the files, and a wake runs the session on them again', async () => {
    await runtime.start(session(), machine.context);
    const home = join(machine.directory, 'sessions/s1/home');
    await writeFile(join(home, 'notes.txt'), 'kept');
    await runtime.hibernate(session(undefined, 's1', 2));
    expect(machine.processes()).toEqual([]);
    expect(await runtime.inventory()).toMatchObject({
      sessions: [{ sessionId: 's1', generation: 2, state: 'hibernated' }],
    });
    const { sessionId, commandId } = session();
    const woken = await runtime.wake({ sessionId, commandId, generation: 3 }, machine.context);
    expect((await ask(woken)).env['STREAMSPACE_GENERATION']).toBe('3');
    expect(await readFile(join(home, 'notes.txt'), 'utf8')).toBe('kept');
    expect(machine.observations).toEqual([]);
  });

  test('of a session that this machine does not have fails', async () => {
    await expect(runtime.hibernate(session())).rejects.toMatchObject({ code: 'session_unknown' });
    const { sessionId, commandId } = session();
    await expect(
      runtime.wake({ sessionId, commandId, generation: 3 }, machine.context),
    ).rejects.toMatchObject({ code: 'session_unknown' });
  });
});

describe('a session that ends by itself', () => {
  test('is reported with its exit code and the last line of its log', async () => {
    const started = await runtime.start(
      session(specOf(webServer("process.on('exit', () => console.log('bye, then'))"))),
      machine.context,
    );
    await ask(started, '/exit/3').catch(() => undefined);
    await eventually(() => machine.observations.length > 0);
    expect(machine.observations).toEqual([
      {
        sessionId: 's1',
        generation: 1,
        state: 'failed',
        code: 'process_exited',
        message: "The session's process ended with exit code 3; last line of its log: bye, then",
      },
    ]);
    expect(await runtime.inventory()).toMatchObject({ sessions: [{ state: 'failed' }] });
  });

  test('is reported with the signal that ended it, and what it left is ended, too', async () => {
    const setUp = "require('node:child_process').spawn('sleep', ['300'], { stdio: 'ignore' })";
    const started = await runtime.start(session(specOf(webServer(setUp))), machine.context);
    const { pid } = await ask(started);
    process.kill(pid, 'SIGKILL');
    await eventually(() => machine.observations.length > 0);
    expect(machine.observations[0]!.message).toContain('was ended by SIGKILL');
    expect(machine.processes()).toEqual([]);
  });
});

describe('a hostile session id', () => {
  const ids = ['../../escaped', '..', '.', '/etc', 'a/b', '~x', 'x'.repeat(255), 'ünïcode', 'a\nb'];

  test('names a directory below the sessions’ own, and no two the same', () => {
    const names = ids.map(directoryNameOf);
    expect(new Set(names).size).toBe(ids.length);
    for (const name of names) {
      expect(name).toMatch(/^[A-Za-z0-9_~-]{1,100}$/);
    }
  });

  test('starts and stops a session and touches nothing else', async () => {
    await mkdir(join(machine.directory, 'escaped'));
    await Promise.all(
      ids.map((id) => runtime.start(session(specOf(webServer()), id), machine.context)),
    );
    expect(machine.processes()).toHaveLength(ids.length);
    await Promise.all(ids.map((id) => runtime.stop(session(undefined, id))));
    expect(machine.processes()).toEqual([]);
    expect(existsSync(join(machine.directory, 'escaped'))).toBe(true);
    expect(await machine.sessionDirectories()).toEqual([]);
  }, 15_000);
});

describe('after a restart of the agent', () => {
  test('running sessions are found, go on, and can be stopped', async () => {
    const started = await runtime.start(session(), machine.context);
    const before = await ask(started);
    runtime = await machine.restart();
    expect(await runtime.inventory()).toMatchObject({ sessions: [{ state: 'running' }] });
    expect((await ask(started)).pid).toBe(before.pid);
    await runtime.stop(session());
    expect(machine.processes()).toEqual([]);
    expect(machine.observations).toEqual([]);
  });

  test('a session that ends later is reported, its exit code unknown', async () => {
    const { pid } = await ask(await runtime.start(session(), machine.context));
    runtime = await machine.restart();
    process.kill(pid, 'SIGKILL');
    await eventually(() => machine.observations.length > 0);
    expect(machine.observations[0]).toMatchObject({ state: 'failed', code: 'process_exited' });
    expect(machine.observations[0]!.message).toContain('exit code is not known');
  });

  test('a session that ended meanwhile is reported as well', async () => {
    const { pid } = await ask(await runtime.start(session(), machine.context));
    await runtime.close();
    process.kill(pid, 'SIGKILL');
    await eventually(() => machine.processes().length === 0);
    runtime = await machine.restart();
    expect(machine.observations).toMatchObject([{ sessionId: 's1', code: 'process_exited' }]);
  });

  test('a failure is told again, as the agent before may have died with it', async () => {
    const { pid } = await ask(await runtime.start(session(), machine.context));
    process.kill(pid, 'SIGKILL');
    await eventually(() => machine.observations.length === 1);
    await machine.restart();
    expect(machine.observations).toHaveLength(2);
    expect(machine.observations[1]).toEqual(machine.observations[0]);
  });

  test('a process whose pid was not written down any more is found by its environment', async () => {
    const { pid } = await ask(await runtime.start(session(), machine.context));
    await runtime.close();
    const path = join(machine.directory, 'sessions/s1/record.json');
    const record: unknown = JSON.parse(await readFile(path, 'utf8'));
    await writeFile(
      path,
      JSON.stringify({ ...(record as object), state: 'starting', leader: null }),
    );
    runtime = await machine.restart();
    expect((await ask(await runtime.start(session(), machine.context))).pid).toBe(pid);
    expect(machine.processes()).toHaveLength(1);
  });

  test('a start whose process ended meanwhile fails and is not spawned a second time', async () => {
    const { pid } = await ask(await runtime.start(session(), machine.context));
    await runtime.close();
    process.kill(pid, 'SIGKILL');
    await eventually(() => machine.processes().length === 0);
    runtime = await machine.restart();
    await expect(runtime.start(session(), machine.context)).rejects.toMatchObject({
      code: 'process_exited',
    });
  });

  test('a process without a record is in the inventory, and a stop ends it', async () => {
    await runtime.start(session(), machine.context);
    await runtime.close();
    await rm(join(machine.directory, 'sessions/s1'), { recursive: true });
    runtime = await machine.restart();
    expect(await runtime.inventory()).toEqual({
      complete: true,
      sessions: [{ sessionId: 's1', generation: 1, state: 'running' }],
    });
    await runtime.stop(session());
    expect(machine.processes()).toEqual([]);
  });

  test('a record that cannot be read makes the inventory incomplete', async () => {
    await runtime.start(session(), machine.context);
    await writeFile(join(machine.directory, 'sessions/s1/record.json'), '{');
    runtime = await machine.restart();
    expect((await runtime.inventory()).complete).toBe(false);
  });
});
