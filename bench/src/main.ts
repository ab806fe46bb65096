import { writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { Command, InvalidArgumentError } from 'commander';
import { startBenchSystem } from './bench-system.ts';
import { measureLatency } from './latency.ts';
import { toReport, toTable, type BenchRun } from './report.ts';
import { measureThroughput } from './throughput.ts';

function count(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1)
    throw new InvalidArgumentError('a whole number from 1');
  return value;
}

const options = new Command('bench')
  .description('Ordered commands per second, latency through a foreign replica, cost in PostgreSQL')
  .option('--agents <n>', 'agents, each with its connection and journal', count, 50)
  .option('--replicas <n>', 'API replicas', count, 3)
  .option('--commands <n>', 'commands of a round', count, 20_000)
  .option('--batch <n>', 'commands an enqueuing transaction', count, 10)
  .option('--rounds <n>', 'rounds of throughput after one to warm up', count, 3)
  .option('--rate <n>', 'commands per second when latency is measured', count, 100)
  .option('--seconds <n>', 'how long latency is measured', count, 10)
  .option('--json <file>', 'also write the figures here')
  .parse()
  .opts<{
    agents: number;
    replicas: number;
    commands: number;
    batch: number;
    rounds: number;
    rate: number;
    seconds: number;
    json?: string;
  }>();

const system = await startBenchSystem(options);
try {
  await measureThroughput(system, { commands: options.commands / 4, batch: options.batch });
  const latency = await measureLatency(system, {
    perSecond: options.rate,
    seconds: options.seconds,
  });
  const rounds = [];
  for (let round = 0; round < options.rounds; round += 1)
    rounds.push(await measureThroughput(system, options));
  const run: BenchRun = {
    cores: cpus().length,
    agents: options.agents,
    replicas: options.replicas,
    batch: options.batch,
    rounds,
    latency,
  };
  const report = toReport(run);
  process.stdout.write(toTable(report));
  if (options.json !== undefined)
    writeFileSync(options.json, `${JSON.stringify({ ...report, run }, null, 2)}\n`);
} finally {
  await system[Symbol.asyncDispose]();
}
