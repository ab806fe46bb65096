import { queryRows } from '@streamspace/database';
import type { Knex } from 'knex';
import type { Replica } from './replica.ts';

/** The replicas' rows: each beats for itself, and an agent is online while its owner beats. */
export class ReplicaStore {
  readonly #db: Knex;
  #installationId = '';

  constructor(db: Knex) {
    this.#db = db;
  }

  /** Agents bind their journals to it: a restored or another control plane is another one. */
  get installationId(): string {
    return this.#installationId;
  }

  async load(): Promise<void> {
    const [row] = await queryRows<{ id: string }>(this.#db, 'select id from installation');
    if (!row) throw new Error('the database has no installation id; run the migrations');
    this.#installationId = row.id;
  }

  /** Answers the boot ids of the peers that have beaten within 10 s. */
  async beat(replica: Replica, isDraining: boolean): Promise<readonly string[]> {
    const rows = await queryRows<{ boot_id: string }>(
      this.#db,
      `with beat as (
         insert into replicas (boot_id, name, address, version, draining)
         values (:bootId, :name, :address, :version, :isDraining)
         on conflict (boot_id) do update set beat_at = now(), draining = excluded.draining
       )
       select boot_id from replicas where boot_id <> :bootId and beat_at > now() - interval '10 seconds'`,
      { ...replica, isDraining },
    );
    return rows.map((row) => row.boot_id);
  }

  /** At a clean end: what it still owned is released, so nobody waits for its row to grow old. */
  async remove(bootId: string): Promise<void> {
    await queryRows(
      this.#db,
      `with released as (
         update agent_queues set owner_boot_id = null, connection_id = null, disconnected_at = now()
         where owner_boot_id = :bootId
       )
       delete from replicas where boot_id = :bootId`,
      { bootId },
    );
  }
}
