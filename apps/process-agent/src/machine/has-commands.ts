import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';

/** True when all of them are on the search path. */
export function hasCommands(names: readonly string[], path: string | undefined): boolean {
  const directories = (path ?? '').split(delimiter).filter((directory) => directory !== '');
  return names.every((name) =>
    directories.some((directory) => isExecutable(join(directory, name))),
  );
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
