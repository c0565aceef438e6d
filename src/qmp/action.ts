/** What a transaction is made of: actions that are prepared one after the other, and then all committed or all undone. */
import type { Op } from "../block/op.js";
import { JobTransaction } from "../jobs/transaction.js";
import type { JsonObject } from "../qapi/json.js";
import type { Infer, StructType } from "../qapi/schema.js";
import type { BlockCore } from "./block-core.js";

export interface Prepared {
  commit?(): Op<void>;
  /** Undoes what prepare did. */
  abort?(): Op<void>;
  /** Either way, after everything. */
  clean?(): Op<void>;
}

export interface Action {
  readonly type: string;
  // oxlint-disable-next-line typescript/no-explicit-any
  readonly data: StructType<any>;
  readonly prepare: (core: BlockCore, data: JsonObject, jobs: JobTransaction | undefined) => Op<Prepared>;
}

// oxlint-disable-next-line typescript/no-explicit-any
export function action<S extends StructType<any>>(declaration: {
  type: string;
  data: S;
  prepare: (core: BlockCore, data: Infer<S>, jobs: JobTransaction | undefined) => Op<Prepared>;
}): Action {
  return declaration as unknown as Action;
}

/** Runs actions as one. `grouped`: their jobs succeed together or not at all. */
export function* runActions(core: BlockCore, actions: readonly { action: Action; data: object }[], grouped = false): Op<void> {
  const jobs = grouped ? new JobTransaction() : undefined;
  const prepared: Prepared[] = [];
  try {
    for (const { action: each, data } of actions) prepared.push(yield* each.prepare(core, data as JsonObject, jobs));
  } catch (error) {
    for (const each of [...prepared].reverse()) if (each.abort !== undefined) yield* each.abort();
    for (const each of prepared) if (each.clean !== undefined) yield* each.clean();
    throw error;
  }
  for (const each of prepared) if (each.commit !== undefined) yield* each.commit();
  for (const each of prepared) if (each.clean !== undefined) yield* each.clean();
}
