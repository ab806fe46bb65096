import type { LatencyResult } from './latency.ts';
import type { ThroughputResult } from './throughput.ts';

export interface BenchRun {
  readonly cores: number;
  readonly agents: number;
  readonly replicas: number;
  readonly batch: number;
  readonly rounds: readonly ThroughputResult[];
  readonly latency: LatencyResult;
}

export interface Figure {
  readonly id: string;
  readonly title: string;
  readonly unit: string;
  readonly measured: number;
  /** Lowest and highest of the rounds, where there were several. */
  readonly range?: readonly [number, number];
}

export interface BenchReport {
  readonly setting: string;
  readonly figures: readonly Figure[];
}

/** Medians over the rounds. */
export function toReport(run: BenchRun): BenchReport {
  const { rounds, latency } = run;
  const overRounds = (
    id: string,
    title: string,
    unit: string,
    of: (round: ThroughputResult) => number,
  ): Figure => {
    const values = rounds.map(of).toSorted((a, b) => a - b);
    return {
      id,
      title,
      unit,
      measured: values[Math.floor(values.length / 2)] ?? Number.NaN,
      range: [values[0] ?? Number.NaN, values.at(-1) ?? Number.NaN],
    };
  };
  const latencyAt = (id: string, share: string, measured: number): Figure => ({
    id,
    title: `Enqueue to agent through a foreign replica at ${latency.perSecond}/s, ${share}`,
    unit: 'ms',
    measured,
  });
  return {
    setting: `${run.agents} agents, ${run.replicas} replicas, PostgreSQL and Redis on ${run.cores} cores; ${run.batch} commands an enqueuing transaction`,
    figures: [
      overRounds('commands_per_second', 'Ordered commands, end to end', '/s', (r) => r.perSecond),
      latencyAt('latency_p50', 'p50', latency.p50Ms),
      latencyAt('latency_p95', 'p95', latency.p95Ms),
      latencyAt('latency_p99', 'p99', latency.p99Ms),
      overRounds(
        'postgres_cpu',
        'PostgreSQL CPU a command',
        'us',
        (r) => r.cost.cpuMicroseconds / r.commands,
      ),
      overRounds('postgres_wal', 'WAL a command', 'bytes', (r) => r.cost.walBytes / r.commands),
      overRounds(
        'wal_page_images',
        'Full-page images a 1,000 commands',
        '',
        (r) => (r.cost.walFullPageImages * 1000) / r.commands,
      ),
      overRounds(
        'hot_share',
        'Heap-only share of updates',
        '%',
        (r) => (100 * r.cost.hotUpdates) / r.cost.updates,
      ),
    ],
  };
}

export function toTable({ setting, figures }: BenchReport): string {
  const lines = figures.map(({ title, unit, measured, range }) => {
    const spread = range ? ` (${round(range[0])} to ${round(range[1])})` : '';
    return `| ${title} | ${round(measured)} ${unit}${spread} |`;
  });
  return `${setting}\n\n| | |\n|---|---|\n${lines.join('\n')}\n`;
}

function round(value: number): string {
  return value >= 100 ? value.toFixed(0) : value.toFixed(1);
}
