import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { repositoryRoot } from '@streamspace/local-stack';
import { Command } from 'commander';
import { DevSystem } from './dev-system.ts';
import { toTable } from './steps.ts';
import { playStory } from './story.ts';

const { json } = new Command('npm run scenario')
  .description('Plays the story against the system that npm start runs, with real kills')
  .option('--json <file>', 'also write the steps here')
  .parse()
  .opts<{ json?: string }>();

const stateDir = process.env['STREAMSPACE_STATE_DIR'] ?? join(repositoryRoot, '.streamspace');
try {
  const system = new DevSystem(join(stateDir, 'dev.json'));
  const steps = await playStory(system, (line) => process.stdout.write(`${line}\n`));
  process.stdout.write(`\n${toTable(steps)}`);
  if (json !== undefined) writeFileSync(json, `${JSON.stringify({ steps }, null, 2)}\n`);
  process.exitCode = steps.every(({ isMet }) => isMet) ? 0 : 1;
} catch (error) {
  process.stderr.write(
    `npm run scenario: ${error instanceof Error ? error.message : String(error)}\n`,
  );
  process.exitCode = 1;
}
