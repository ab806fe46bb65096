/** One boot of one API process. */
export interface Replica {
  /** New with every start: what a dead process left behind is never taken for this one's. */
  readonly bootId: string;
  /** What people call it: a pod's name, `api-1`. */
  readonly name: string;
  /** Where other replicas reach it, never open to the outside. */
  readonly address: string | null;
  readonly version: string;
}
