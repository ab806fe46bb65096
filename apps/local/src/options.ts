import { Command, InvalidArgumentError } from 'commander';

export interface LocalOptions {
  readonly replicas: number;
  readonly port: number;
  readonly hasAgent: boolean;
  readonly isFresh: boolean;
}

const DEFAULT_REPLICAS = 3;
const DEFAULT_PORT = 8080;
const MAX_REPLICAS = 50;
const MAX_PORT = 65_535;

function wholeNumber(limit: number): (value: string) => number {
  return (value) => {
    const number = Number(value);
    if (!Number.isInteger(number) || number < 1 || number > limit)
      throw new InvalidArgumentError(`It is a whole number from 1 to ${limit}.`);
    return number;
  };
}

/** Prints help or what is wrong and ends the process, as command lines do. */
export function parseOptions(argv: readonly string[]): LocalOptions {
  const command = new Command('npm start --')
    .description('Runs the whole system on this machine until Ctrl-C.')
    .option('--replicas <n>', 'API replicas', wholeNumber(MAX_REPLICAS), DEFAULT_REPLICAS)
    .option('--port <port>', "the load balancer's port", wholeNumber(MAX_PORT), DEFAULT_PORT)
    .option('--no-agent', 'start no agent')
    .option('--fresh', 'first delete everything that .streamspace/ keeps', false)
    .allowExcessArguments(false)
    .parse([...argv]);
  const { replicas, port, agent, fresh } = command.opts<{
    replicas: number;
    port: number;
    agent: boolean;
    fresh: boolean;
  }>();
  return { replicas, port, hasAgent: agent, isFresh: fresh };
}
