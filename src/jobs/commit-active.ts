/** commit of the active layer: it is mirrored into its base, which then takes its place. */
import { MiB } from "../base/int.js";
import { drained } from "../block/graph.js";
import { truncate } from "../block/io.js";
import type { Node } from "../block/node.js";
import type { Op } from "../block/op.js";
import { setWritable } from "../block/reopen.js";
import type { ErrorPolicies } from "./job-io.js";
import type { JobJournal } from "./journal.js";
import { mirrorDriver, mirrorGranularity, type MirrorDriver } from "./mirror.js";

export function activeCommitGranularity(base: Node): number {
  return mirrorGranularity(base, 0, false);
}

export function activeCommitDriver(top: Node, base: Node, policies: ErrorPolicies, journal?: JobJournal): MirrorDriver {
  let wasReadOnly = false;
  let replaced = false;
  const mirror = mirrorDriver({
    type: "commit",
    source: top,
    target: base,
    sync: "full",
    granularity: activeCommitGranularity(base),
    bufferSize: 16 * MiB,
    writeBlocking: false,
    targetIsZero: false,
    unmap: true,
    base,
    replaces: null,
    policies,
    ...(journal === undefined ? {} : { journal }),
    // eslint-disable-next-line require-yield
    *beforeReplace() {
      replaced = true;
    },
  });
  return {
    type: "commit",
    softCancel: true,
    serve: (child) => mirror.serve(child),
    complete: (job) => mirror.complete!(job),
    *run(job): Op<void> {
      wasReadOnly = base.readOnly;
      if (wasReadOnly) yield* drained(base, () => setWritable(base, true));
      if (base.size < top.size) yield* drained(base, () => truncate(base, top.size, { preallocation: "off" }));
      yield* mirror.run(job);
    },
    prepare: (job) => mirror.prepare!(job),
    forget: () => mirror.forget(),
    *clean(job): Op<void> {
      yield* mirror.clean!(job);
      if (wasReadOnly && !replaced) yield* drained(base, () => setWritable(base, false));
    },
  };
}
