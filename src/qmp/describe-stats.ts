/** Statistics as query-blockstats shows them. */
import { Accounting } from "../block/accounting.js";
import { below, skipImplicit } from "../block/graph.js";
import type { Node } from "../block/node.js";
import type { BlockCore } from "./block-core.js";
import type { Device } from "./device.js";

type Json = Record<string, unknown>;

const NOTHING: Accounting = new Accounting({ invalid: false, failed: false });

function statistics(core: BlockCore, node: Node | null, accounting: Accounting): Json {
  const { read, write, flush, unmap } = accounting.of;
  const old: Json = {
    rd_bytes: read.bytes,
    wr_bytes: write.bytes,
    rd_operations: read.operations,
    wr_operations: write.operations,
    flush_operations: flush.operations,
    wr_total_time_ns: write.ns,
    rd_total_time_ns: read.ns,
    flush_total_time_ns: flush.ns,
    wr_highest_offset: node?.highestWrite ?? 0,
  };
  if (core.profile === "qemu-2.2") return old;
  const idle = accounting.idleNs;
  return {
    ...old,
    unmap_bytes: unmap.bytes,
    unmap_operations: unmap.operations,
    unmap_total_time_ns: unmap.ns,
    rd_merged: read.merged,
    wr_merged: write.merged,
    unmap_merged: unmap.merged,
    ...(idle === null ? {} : { idle_time_ns: idle }),
    failed_rd_operations: read.failed,
    failed_wr_operations: write.failed,
    failed_flush_operations: flush.failed,
    failed_unmap_operations: unmap.failed,
    invalid_rd_operations: read.invalid,
    invalid_wr_operations: write.invalid,
    invalid_flush_operations: flush.invalid,
    invalid_unmap_operations: unmap.invalid,
    account_invalid: accounting.countsInvalid,
    account_failed: accounting.countsFailed,
    timed_stats: accounting.intervals.map((interval) => {
      const of = { rd: interval.spread("read"), wr: interval.spread("write"), flush: interval.spread("flush") };
      const timed: Json = { interval_length: interval.seconds };
      for (const [name, spread] of Object.entries(of)) {
        timed[`min_${name}_latency_ns`] = spread.min;
        timed[`max_${name}_latency_ns`] = spread.max;
        timed[`avg_${name}_latency_ns`] = spread.avg;
      }
      timed["avg_rd_queue_depth"] = interval.queueDepth("read");
      timed["avg_wr_queue_depth"] = interval.queueDepth("write");
      return timed;
    }),
    ...histogram(accounting, "read", "rd"),
    ...histogram(accounting, "write", "wr"),
    ...histogram(accounting, "flush", "flush"),
  };
}

function histogram(accounting: Accounting, kind: "read" | "write" | "flush", name: string): Json {
  const found = accounting.histograms.get(kind);
  return found === undefined ? {} : { [`${name}_latency_histogram`]: { boundaries: found.boundaries, bins: found.bins } };
}

function nodeStatsWith(core: BlockCore, node: Node, accounting: Accounting, withBacking: boolean): Json {
  const file = node.child("file");
  const next = withBacking ? below(node) : null;
  const backing = next === null ? null : skipImplicit(next);
  const modern = core.profile === "qemu-7.2";
  return {
    ...(modern ? { "node-name": node.nodeName } : {}),
    stats: statistics(core, node, accounting),
    ...(modern && node.driver.name === "file"
      ? { "driver-specific": { driver: "file", "discard-nb-ok": 0, "discard-nb-failed": 0, "discard-bytes-ok": 0 } }
      : {}),
    ...(file === null ? {} : { parent: nodeStats(core, file) }),
    ...(backing === null || backing === file ? {} : { backing: nodeStatsWith(core, backing, NOTHING, true) }),
  };
}

/** BlockStats of a node and of its file. */
export function nodeStats(core: BlockCore, node: Node): Json {
  return nodeStatsWith(core, node, NOTHING, false);
}

/** BlockStats of a drive, with all layers of its medium. */
export function deviceStats(core: BlockCore, device: Device): Json {
  const root = device.medium;
  const qdev = device.frontEnd?.qdev;
  return {
    device: device.name,
    ...(core.profile === "qemu-2.2" || qdev === undefined ? {} : { qdev }),
    ...(root === null
      ? { stats: statistics(core, null, device.accounting) }
      : nodeStatsWith(core, root, device.accounting, true)),
  };
}
