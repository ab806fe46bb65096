import { readdirSync, readFileSync } from 'node:fs';
import { queryRows } from '@streamspace/database';
import type { Knex } from 'knex';

/** Linux counts in ticks of 10 ms on every platform that Node runs on. */
const TICK_MICROSECONDS = 10_000;

export interface PostgresCost {
  readonly cpuMicroseconds: number;
  readonly walBytes: number;
  /** Of these, images of whole pages: they come after each checkpoint and are not the queue's own. */
  readonly walFullPageImages: number;
  readonly updates: number;
  readonly hotUpdates: number;
}

/** What the server has used so far; the difference of two is what lies between. */
export async function readPostgresCost(db: Knex, serverPid: number): Promise<PostgresCost> {
  // Sessions report their table counters when idle for a second, or when asked.
  await queryRows(db, 'select pg_stat_force_next_flush()');
  const [row] = await queryRows<Record<'bytes' | 'images' | 'updates' | 'hot', string>>(
    db,
    `select w.wal_bytes as bytes, w.wal_fpi as images, t.n_tup_upd as updates, t.n_tup_hot_upd as hot
     from pg_stat_wal w, pg_stat_user_tables t where t.relname = 'agent_commands'`,
  );
  if (!row) throw new Error('the statistics of agent_commands are not there');
  return {
    cpuMicroseconds: cpuOfTree(serverPid) * TICK_MICROSECONDS,
    walBytes: Number(row.bytes),
    walFullPageImages: Number(row.images),
    updates: Number(row.updates),
    hotUpdates: Number(row.hot),
  };
}

export function costBetween(before: PostgresCost, after: PostgresCost): PostgresCost {
  return {
    cpuMicroseconds: after.cpuMicroseconds - before.cpuMicroseconds,
    walBytes: after.walBytes - before.walBytes,
    walFullPageImages: after.walFullPageImages - before.walFullPageImages,
    updates: after.updates - before.updates,
    hotUpdates: after.hotUpdates - before.hotUpdates,
  };
}

/** User and system time of the server, its living children and those it has reaped. */
function cpuOfTree(pid: number): number {
  let ticks = 0;
  for (const entry of readdirSync('/proc')) {
    if (!/^\d+$/.test(entry)) continue;
    const fields = readStat(entry);
    if (!fields) continue;
    const isServer = entry === String(pid);
    if (!isServer && fields[1] !== String(pid)) continue;
    ticks += Number(fields[11]) + Number(fields[12]);
    if (isServer) ticks += Number(fields[13]) + Number(fields[14]);
  }
  return ticks;
}

/** The fields after the command's name, which may itself hold spaces: state, ppid, ..., utime (11). */
function readStat(pid: string): readonly string[] | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return text.slice(text.lastIndexOf(')') + 2).split(' ');
  } catch {
    return undefined;
  }
}
