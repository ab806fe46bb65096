import { v7 as uuidv7 } from 'uuid';

/** `cmd_` and a UUIDv7: they sort by the time they were made. Upstream's `cmd-...` sort before all of them. */
export function newCommandId(): string {
  return `cmd_${uuidv7()}`;
}
