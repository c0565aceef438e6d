/**
 * `savevm`, `loadvm`, `delvm`, `info snapshots`: internal snapshots of all writable images together. There is no machine whose state
 * could go with them, so they hold what the disks hold.
 */
import { BlockError, prefixError } from "../../../base/error.js";
import type { SnapshotVerbs } from "../../../block/driver.js";
import { drained } from "../../../block/graph.js";
import { flush } from "../../../block/io.js";
import type { Node } from "../../../block/node.js";
import type { Op } from "../../../block/op.js";
import { snapshotLines } from "../../../image/info-text.js";
import type { BlockCore } from "../../command.js";
import { maybe, text, word, type HmpCommand } from "../command.js";

interface Disk {
  node: Node;
  name: string;
  verbs: SnapshotVerbs | undefined;
}

/** What a snapshot is of: everything writable that is in a drive or that nothing else stands on. */
function disks(core: BlockCore): Disk[] {
  const found = new Set<Node>();
  for (const { backend } of core.devices.values()) if (backend.root !== null) found.add(backend.root);
  for (const node of core.nodes.owned) if (node.parents.length === 0) found.add(node);
  return [...found]
    .filter((node) => !node.readOnly)
    .map((node) => ({
      node,
      name: core.deviceOf(node)?.shownName ?? node.nodeName,
      verbs: node.impl.shape === "mapped" ? node.impl.snapshots : undefined,
    }));
}

interface SnapshotDisk extends Disk {
  verbs: SnapshotVerbs;
}

/** @throws BlockError when one of them can have no snapshots, or there are none */
function snapshotDisks(core: BlockCore): SnapshotDisk[] {
  const all = disks(core);
  for (const { name, verbs } of all)
    if (verbs === undefined)
      throw new BlockError("ERR_UNSUPPORTED", `Device '${name}' is writable but does not support snapshots`);
  if (all.length === 0) throw new BlockError("ERR_UNSUPPORTED", "No block device can accept snapshots");
  return all as SnapshotDisk[];
}

const inAll = (all: readonly SnapshotDisk[], name: string): boolean =>
  all.every(({ verbs }) => verbs.list().some((snapshot) => snapshot.name === name));

function* removeEverywhere(all: readonly SnapshotDisk[], name: string): Op<void> {
  for (const { node, name: where, verbs } of all) {
    const found = verbs.list().find((snapshot) => snapshot.name === name);
    if (found === undefined) continue;
    try {
      yield* drained(node, () => verbs.remove(found));
    } catch (error) {
      throw prefixError(`Could not delete snapshot '${name}' on '${where}': `, error);
    }
  }
}

/** Does something while the guests stand still; they go on when it went well. */
function* stopped(core: BlockCore, state: "save-vm" | "restore-vm", work: () => Op<void>): Op<void> {
  const wasRunning = core.machine.isRunning;
  core.machine.stop(state);
  yield* work();
  if (wasRunning) core.machine.resume();
}

const two = (value: number): string => String(value).padStart(2, "0");
function nameOfTime(now: number): string {
  const date = new Date(now);
  const day = `${date.getFullYear()}${two(date.getMonth() + 1)}${two(date.getDate())}`;
  return `vm-${day}${two(date.getHours())}${two(date.getMinutes())}${two(date.getSeconds())}`;
}

export const savevm: HmpCommand = {
  name: "savevm",
  parameters: [maybe(word("name"))],
  usage: "tag",
  summary: "save a snapshot of all writable disks; one of the same name is replaced",
  *run(core, _out, args) {
    const all = snapshotDisks(core);
    const now = core.environment.now();
    const name = args["name"] === undefined ? nameOfTime(now) : text(args, "name");
    const dateSec = Math.floor(now / 1000);
    yield* stopped(core, "save-vm", function* () {
      yield* removeEverywhere(all, name);
      for (const { node, name: where, verbs } of all) {
        try {
          yield* drained(node, function* () {
            yield* flush(node);
            yield* verbs.create(name, {
              vmStateSize: 0,
              dateSec,
              dateNsec: Math.round((now - dateSec * 1000) * 1e6),
              vmClockNsec: 0,
            });
          });
        } catch (error) {
          throw prefixError(`Could not create snapshot '${name}' on '${where}': `, error);
        }
      }
    });
  },
};

export const loadvm: HmpCommand = {
  name: "loadvm",
  parameters: [word("name")],
  usage: "tag",
  summary: "go back to a snapshot of all writable disks",
  *run(core, _out, args) {
    const name = text(args, "name");
    yield* stopped(core, "restore-vm", function* () {
      const all = snapshotDisks(core);
      if (!inAll(all, name)) throw new BlockError("ERR_NOT_FOUND", `Snapshot '${name}' does not exist in one or more devices`);
      for (const { node, name: where, verbs } of all) {
        const snapshot = verbs.list().find((each) => each.name === name)!;
        try {
          yield* drained(node, () => verbs.apply(snapshot));
        } catch (error) {
          throw prefixError(`Could not load snapshot '${name}' on '${where}': `, error);
        }
      }
    });
  },
};

export const delvm: HmpCommand = {
  name: "delvm",
  parameters: [word("name")],
  usage: "tag",
  summary: "delete a snapshot from all writable disks",
  *run(core, _out, args) {
    yield* removeEverywhere(snapshotDisks(core), text(args, "name"));
  },
};

export const infoSnapshots: HmpCommand = {
  name: "snapshots",
  parameters: [],
  usage: "",
  summary: "show the currently saved VM snapshots",
  // eslint-disable-next-line require-yield
  *run(core, out) {
    const all = disks(core);
    const able = all.filter((disk): disk is SnapshotDisk => disk.verbs !== undefined);
    const first = able[0];
    if (first === undefined) {
      out.print("No block device supports snapshots\n");
      return;
    }
    if (able.every(({ verbs }) => verbs.list().length === 0)) {
      out.print("There is no snapshot available.\n");
      return;
    }
    const whole = able.length === all.length;
    const isWhole = (name: string): boolean => whole && inAll(able, name);
    const table = (lines: string[]): string => lines.map((line) => `${line}\n`).join("");
    const common = first.verbs.list().filter(({ name }) => isWhole(name));
    out.print("List of snapshots present on all disks:\n");
    // What has an ID of its own on every disk has none as a whole.
    out.print(common.length === 0 ? "None\n" : table(snapshotLines(common.map((snapshot) => ({ ...snapshot, id: "--" })))));
    for (const { name, verbs } of able) {
      const partial = verbs.list().filter((snapshot) => !isWhole(snapshot.name));
      if (partial.length === 0) continue;
      out.print(`\nList of partial (non-loadable) snapshots on '${name}':\n${table(snapshotLines(partial))}`);
    }
  },
};
