/** Scenarios for both daemons, made from templates. Images: a <- b <- c (qcow2), t.qcow2 and e.raw empty, short.qcow2 (576 KiB) and d.raw with data. */
import type { Json } from "./qmp-client.js";

export type Step = Json | { wait: string; id: string };

export interface Scenario {
  name: string;
  steps: Step[];
  /** Files to compare afterwards. */
  images?: readonly string[];
  /** Progress counts differ where only the way there does. */
  progressDiffers?: boolean;
}

const run = (execute: string, args?: Json): Json => ({ execute, ...(args === undefined ? {} : { arguments: args }) });
export const file = (filename: string): Json => ({ driver: "file", filename });
const node = (name: string, filename: string, more: Json = {}): Json =>
  run("blockdev-add", { driver: filename.endsWith(".raw") ? "raw" : "qcow2", "node-name": name, file: file(filename), ...more });
/** The chain with all nodes named. */
const chain: Json[] = [
  run("blockdev-add", {
    driver: "qcow2",
    "node-name": "c",
    file: file("c.qcow2"),
    backing: {
      driver: "qcow2",
      "node-name": "b",
      file: file("b.qcow2"),
      backing: { driver: "qcow2", "node-name": "a", file: file("a.qcow2") },
    },
  }),
];
const plain: Json[] = [node("c", "c.qcow2")];
const over: Step = { wait: "over", id: "j" };
const ready: Step = { wait: "ready", id: "j" };

export function scenarios(): Scenario[] {
  const all: Scenario[] = [];
  const add = (name: string, steps: Step[], images?: readonly string[], more: Partial<Scenario> = {}): void =>
    void all.push({ name, steps, ...(images === undefined ? {} : { images }), ...more });
  errors(add);
  const move = (name: string, iothread: string | null): Json => run("x-blockdev-set-iothread", { "node-name": name, iothread });
  add("nodes in I/O threads", [
    run("object-add", { "qom-type": "iothread", id: "t" }),
    node("t0", "t.qcow2"),
    move("t0", "t"),
    move("t0", null),
    move("t0", "nosuch"),
    move("nosuch", "t"),
  ]);
  const CHAIN = ["a.qcow2", "b.qcow2", "c.qcow2"];

  // stream
  for (const [what, args] of Object.entries({
    whole: {},
    "base a": { base: "a.qcow2" },
    "base b": { base: "b.qcow2" },
    "base-node a": { "base-node": "a" },
    "base-node b": { "base-node": "b" },
    "bottom b": { bottom: "b" },
    "bottom c": { bottom: "c" },
    "backing-file": { "base-node": "a", "backing-file": "x.qcow2" },
  } as Record<string, Json>)) {
    for (const [how, extra] of Object.entries(FINISH)) {
      add(
        `stream ${what}, ${how}`,
        [
          ...chain,
          run("block-stream", { device: "c", "job-id": "j", ...args, ...extra.args }),
          ...extra.steps,
          over,
          ...extra.after,
          run("query-jobs"),
        ],
        what === "backing-file" ? ["a.qcow2"] : CHAIN,
      );
    }
    add(
      `stream ${what} of a middle layer`,
      [
        ...chain,
        run("block-stream", { device: "b", "job-id": "j", ...(what.startsWith("base") && !what.includes(" b") ? args : {}) }),
        over,
      ],
      what === "backing-file" ? [] : CHAIN,
    );
  }
  // commit
  for (const [what, args] of Object.entries({
    "middle b into a": { "top-node": "b", "base-node": "a" },
    "b by name": { top: "b.qcow2" },
    "b by names": { top: "b.qcow2", base: "a.qcow2" },
    "b with backing-file": { "top-node": "b", "backing-file": "a.qcow2" },
  } as Record<string, Json>)) {
    for (const [how, extra] of Object.entries(FINISH)) {
      add(
        `commit ${what}, ${how}`,
        [
          ...chain,
          run("block-commit", { device: "c", "job-id": "j", ...args, ...extra.args }),
          ...extra.steps,
          over,
          ...extra.after,
          run("query-block-jobs"),
        ],
        CHAIN,
      );
    }
  }
  for (const [what, args] of Object.entries({
    "into a": {},
    "into b": { "base-node": "b" },
    "into a by name": { base: "a.qcow2" },
    "into b by name": { base: "b.qcow2" },
  } as Record<string, Json>)) {
    for (const end of ["complete", "cancel", "force"]) {
      add(
        `active commit ${what}, ${end}`,
        [
          ...chain,
          run("block-commit", { device: "c", "job-id": "j", ...args }),
          ready,
          run("query-block-jobs"),
          endOf(end),
          over,
          run("query-block-jobs"),
        ],
        CHAIN,
        { progressDiffers: true },
      );
    }
  }
  // mirror
  for (const sync of ["full", "top", "none"]) {
    for (const end of ["complete", "cancel", "force"]) {
      for (const [how, extra] of Object.entries({
        plain: {},
        granularity: { granularity: 4096 },
        "buf-size": { "buf-size": 65536 },
      } as Record<string, Json>)) {
        add(
          `blockdev-mirror ${sync}, ${end}, ${how}`,
          [
            ...plain,
            node("t", "t.qcow2"),
            run("blockdev-mirror", { device: "c", target: "t", sync, "job-id": "j", ...extra }),
            ready,
            run("block-dirty-bitmap-add", { node: "c", name: "busy" }),
            endOf(end),
            over,
            run("query-jobs"),
          ],
          sync === "full" ? ["t.qcow2", "c.qcow2"] : ["c.qcow2"],
          { progressDiffers: true },
        );
      }
      add(
        `drive-mirror ${sync}, ${end}`,
        [
          ...plain,
          run("drive-mirror", { device: "c", target: "new.qcow2", sync, "job-id": "j" }),
          ready,
          endOf(end),
          over,
          run("query-jobs"),
        ],
        ["c.qcow2", "new.qcow2"],
        { progressDiffers: true },
      );
    }
  }
  for (const format of ["raw", "qcow2"]) {
    add(
      `drive-mirror to ${format}`,
      [
        ...plain,
        run("drive-mirror", { device: "c", target: "new.img", format, sync: "full", "job-id": "j", "node-name": "m" }),
        ready,
        endOf("complete"),
        over,
      ],
      ["new.img"],
      { progressDiffers: true },
    );
    add(
      `drive-mirror into an existing ${format}`,
      [
        ...plain,
        run("drive-mirror", {
          device: "c",
          target: format === "raw" ? "e.raw" : "t.qcow2",
          format,
          mode: "existing",
          sync: "full",
          "job-id": "j",
        }),
        ready,
        endOf("complete"),
        over,
      ],
      [format === "raw" ? "e.raw" : "t.qcow2"],
      { progressDiffers: true },
    );
  }
  // backup
  for (const sync of ["full", "top"]) {
    for (const [how, extra] of Object.entries(FINISH)) {
      add(
        `blockdev-backup ${sync}, ${how}`,
        [
          ...plain,
          node("t", "t.qcow2"),
          run("blockdev-backup", { device: "c", target: "t", sync, "job-id": "j", ...extra.args }),
          ...extra.steps,
          over,
          ...extra.after,
          run("query-jobs"),
        ],
        ["t.qcow2"],
        { progressDiffers: sync === "top" },
      );
    }
    for (const format of ["raw", "qcow2"]) {
      add(
        `drive-backup ${sync} to ${format}`,
        [
          ...plain,
          run("drive-backup", { device: "c", target: "new.img", format, sync: format === "raw" ? "full" : sync, "job-id": "j" }),
          over,
        ],
        ["new.img"],
        { progressDiffers: true },
      );
    }
    add(
      `blockdev-backup ${sync}, compressed`,
      [
        ...plain,
        node("t", "t.qcow2"),
        run("blockdev-backup", { device: "c", target: "t", sync, "job-id": "j", compress: true }),
        over,
      ],
      ["t.qcow2"],
      { progressDiffers: true },
    );
  }
  add(
    "blockdev-backup none, cancelled",
    [
      ...plain,
      node("t", "t.qcow2"),
      run("blockdev-backup", { device: "c", target: "t", sync: "none", "job-id": "j" }),
      run("block-job-cancel", { device: "j" }),
      over,
    ],
    ["t.qcow2"],
    { progressDiffers: true },
  );
  // bitmaps
  const bitmap = (name: string, more: Json = {}): Json => run("block-dirty-bitmap-add", { node: "c", name, ...more });
  for (const more of [
    {},
    { granularity: 512 },
    { granularity: 65536, persistent: true },
    { disabled: true },
    { persistent: true, disabled: true },
  ]) {
    add(
      `bitmap ${JSON.stringify(more)}`,
      [
        ...plain,
        bitmap("x", more),
        run("query-named-block-nodes", { flat: true }),
        run("block-dirty-bitmap-disable", { node: "c", name: "x" }),
        run("block-dirty-bitmap-enable", { node: "c", name: "x" }),
        run("block-dirty-bitmap-clear", { node: "c", name: "x" }),
        bitmap("y"),
        run("block-dirty-bitmap-merge", { node: "c", target: "y", bitmaps: ["x", { node: "c", name: "x" }] }),
        run("block-dirty-bitmap-remove", { node: "c", name: "x" }),
      ],
      ["c.qcow2"],
    );
    add(
      `bitmap backup ${JSON.stringify(more)}`,
      [
        ...plain,
        node("t", "t.qcow2"),
        bitmap("x", more),
        run("blockdev-backup", { device: "c", target: "t", sync: "incremental", bitmap: "x", "job-id": "j" }),
        over,
        run("query-named-block-nodes", { flat: true }),
      ],
      ["t.qcow2"],
      { progressDiffers: true },
    );
  }
  // Bitmaps of jobs and filters, which have no names.
  const asked = run("query-named-block-nodes", { flat: true });
  for (const mode of ["background", "write-blocking"]) {
    const mirror = { "job-id": "j", device: "c", target: "t", sync: "full", "filter-node-name": "f", "copy-mode": mode };
    add(
      `bitmaps beside a mirror, ${mode}`,
      [...plain, node("t", "t.qcow2"), bitmap("x"), run("blockdev-mirror", mirror), bitmap("y"), ready, asked],
      undefined,
      { progressDiffers: true },
    );
  }
  add(
    "commit of an active layer that is shorter than its base",
    [
      node("a", "a.qcow2"),
      node("over", "short.qcow2"),
      run("blockdev-snapshot", { node: "a", overlay: "over" }),
      run("block-commit", { device: "over", "job-id": "j" }),
      ready,
      run("job-complete", { id: "j" }),
      over,
    ],
    ["a.qcow2"],
  );
  add("bitmaps beside a commit", [...chain, run("block-commit", { device: "c", "job-id": "j" }), ready, asked], undefined, {
    progressDiffers: true,
  });
  for (const mode of ["on-success", "always", "never"]) {
    const backup = { "job-id": "j", device: "c", target: "t", sync: "bitmap", bitmap: "x", "bitmap-mode": mode };
    add(
      `bitmaps beside a backup, ${mode}`,
      [
        ...plain,
        node("t", "t.qcow2"),
        bitmap("x"),
        bitmap("y", { disabled: true }),
        run("blockdev-backup", { ...backup, "filter-node-name": "f", "auto-finalize": false }),
        { wait: "pending", id: "j" },
        asked,
        run("job-finalize", { id: "j" }),
        over,
        asked,
      ],
      undefined,
      { progressDiffers: true },
    );
  }
  const once = [{ event: "read_aio", once: true }];
  for (const sync of ["full", "bitmap"]) {
    add(`bitmap of a backup that fails half-way, ${sync}`, [
      run("blockdev-add", { "node-name": "file", ...file("c.qcow2") }),
      run("blockdev-add", { driver: "blkdebug", "node-name": "failing", image: "file", "inject-error": once }),
      run("blockdev-add", { driver: "qcow2", "node-name": "c", file: "failing" }),
      node("t", "t.qcow2"),
      bitmap("x"),
      run("blockdev-backup", {
        device: "c",
        target: "t",
        sync,
        bitmap: "x",
        "bitmap-mode": "always",
        "job-id": "j",
        "x-perf": { "max-workers": 1 },
      }),
      over,
      asked,
    ]);
  }
  add(
    "bitmap and a backup of the top layer, which has nothing below",
    [
      run("blockdev-add", { driver: "qcow2", "node-name": "c", file: file("a.qcow2") }),
      node("t", "t.qcow2"),
      bitmap("x"),
      run("blockdev-backup", { device: "c", target: "t", sync: "top", bitmap: "x", "bitmap-mode": "always", "job-id": "j" }),
      over,
      asked,
    ],
    ["t.qcow2"],
  );
  add("bitmaps of copy-before-write", [
    ...plain,
    node("t", "t.qcow2"),
    bitmap("x"),
    run("blockdev-add", { driver: "copy-before-write", "node-name": "f", file: "c", target: "t" }),
    asked,
    run("blockdev-del", { "node-name": "f" }),
    run("blockdev-add", {
      driver: "copy-before-write",
      "node-name": "f",
      file: "c",
      target: "t",
      bitmap: { node: "c", name: "x" },
    }),
    asked,
  ]);
  // snapshots
  for (const format of ["qcow2", "qed"]) {
    add(
      `snapshot-sync ${format}`,
      [
        ...plain,
        run("blockdev-snapshot-sync", { "node-name": "c", "snapshot-file": "s.img", "snapshot-node-name": "s", format }),
      ],
      ["s.img", "c.qcow2"],
    );
  }
  add(
    "snapshot-sync existing",
    [
      ...plain,
      run("blockdev-snapshot-sync", {
        "node-name": "c",
        "snapshot-file": "t.qcow2",
        "snapshot-node-name": "s",
        mode: "existing",
      }),
    ],
    ["c.qcow2"],
  );
  add(
    "blockdev-snapshot",
    [
      ...plain,
      node("t", "t.qcow2", { backing: null }),
      run("blockdev-snapshot", { node: "c", overlay: "t" }),
      run("blockdev-del", { "node-name": "c" }),
      run("query-named-block-nodes", { flat: true }),
      run("block-commit", { device: "t", "job-id": "j", "base-node": "c" }),
      ready,
      endOf("complete"),
      over,
    ],
    ["c.qcow2"],
    { progressDiffers: true },
  );
  add(
    "internal snapshots",
    [
      ...plain,
      run("blockdev-snapshot-internal-sync", { device: "c", name: "one" }),
      run("blockdev-snapshot-internal-sync", { device: "c", name: "two" }),
      run("blockdev-snapshot-internal-sync", { device: "c", name: "one" }),
      run("query-named-block-nodes", { flat: true }),
    ],
    ["c.qcow2"],
  );
  // transactions
  const abort = { type: "abort", data: {} };
  const actions: Record<string, Json> = {
    add: { type: "block-dirty-bitmap-add", data: { node: "c", name: "n" } },
    clear: { type: "block-dirty-bitmap-clear", data: { node: "c", name: "x" } },
    disable: { type: "block-dirty-bitmap-disable", data: { node: "c", name: "x" } },
    enable: { type: "block-dirty-bitmap-enable", data: { node: "c", name: "x" } },
    merge: { type: "block-dirty-bitmap-merge", data: { node: "c", target: "y", bitmaps: ["x"] } },
    remove: { type: "block-dirty-bitmap-remove", data: { node: "c", name: "x" } },
    snapshot: { type: "blockdev-snapshot", data: { node: "c", overlay: "t" } },
    internal: { type: "blockdev-snapshot-internal-sync", data: { device: "c", name: "i" } },
  };
  for (const [one, first] of Object.entries(actions)) {
    for (const grouped of [false, true]) {
      const properties = grouped ? { properties: { "completion-mode": "grouped" } } : {};
      add(
        `transaction ${one}${grouped ? " grouped" : ""}`,
        [
          ...plain,
          node("t", "t.qcow2", { backing: null }),
          bitmap("x"),
          bitmap("y"),
          run("transaction", { actions: [first], ...properties }),
          run("query-named-block-nodes", { flat: true }),
        ],
        ["c.qcow2"],
      );
      add(
        `transaction ${one} undone${grouped ? " grouped" : ""}`,
        [
          ...plain,
          node("t", "t.qcow2", { backing: null }),
          bitmap("x"),
          bitmap("y"),
          run("transaction", { actions: [first, abort], ...properties }),
          run("query-named-block-nodes", { flat: true }),
        ],
        ["c.qcow2"],
      );
    }
  }
  // sizes
  for (const size of [512, 1024 * 1024, 2 * 1024 * 1024, 1000, 0, -1, 4096 * 1024]) {
    for (const [name, filename] of [
      ["c", "c.qcow2"],
      ["d", "d.raw"],
    ] as const) {
      add(
        `block_resize ${filename} to ${size}`,
        [node(name, filename), run("block_resize", { "node-name": name, size }), run("query-named-block-nodes", { flat: true })],
        [filename],
      );
    }
  }
  // create
  for (const driver of ["qcow2", "qed", "vdi", "vhdx", "parallels"]) {
    add(
      `blockdev-create ${driver}`,
      [
        run("blockdev-create", { "job-id": "f", options: { driver: "file", filename: "new.img", size: 0 } }),
        { wait: "concluded", id: "f" },
        run("job-dismiss", { id: "f" }),
        run("blockdev-add", { driver: "file", "node-name": "p", filename: "new.img" }),
        run("blockdev-create", { "job-id": "g", options: { driver, file: "p", size: 8 * 1024 * 1024 } }),
        { wait: "concluded", id: "g" },
        run("job-dismiss", { id: "g" }),
        run("blockdev-add", { driver, "node-name": "i", file: "p" }),
        run("query-jobs"),
      ],
      [],
    );
  }
  // pausing
  for (const verb of ["block-job-pause", "job-pause"]) {
    const key = verb.startsWith("block") ? "device" : "id";
    const prefix = verb.startsWith("block") ? "block-job" : "job";
    add(
      `${verb} twice`,
      [
        ...plain,
        node("t", "t.qcow2"),
        run("blockdev-mirror", { device: "c", target: "t", sync: "full", "job-id": "j" }),
        ready,
        run(verb, { [key]: "j" }),
        run(verb, { [key]: "j" }),
        { wait: "standby", id: "j" },
        run(`${prefix}-resume`, { [key]: "j" }),
        run(`${prefix}-resume`, { [key]: "j" }),
        run(`${prefix}-cancel`, { [key]: "j" }),
        over,
      ],
      ["t.qcow2"],
      { progressDiffers: true },
    );
  }
  return all;
}

function endOf(end: string): Json {
  if (end === "complete") return run("block-job-complete", { device: "j" });
  return run("block-job-cancel", { device: "j", ...(end === "force" ? { force: true } : {}) });
}

const FINISH: Record<string, { args: Json; steps: Step[]; after: Step[] }> = {
  plain: { args: {}, steps: [], after: [] },
  "finalized by hand": {
    args: { "auto-finalize": false },
    steps: [{ wait: "pending", id: "j" }, run("job-finalize", { id: "j" })],
    after: [],
  },
  "dismissed by hand": {
    args: { "auto-dismiss": false },
    steps: [{ wait: "concluded", id: "j" }, run("query-jobs"), run("job-dismiss", { id: "j" })],
    after: [],
  },
  "finalized and dismissed": {
    args: { "auto-finalize": false, "auto-dismiss": false },
    steps: [
      { wait: "pending", id: "j" },
      run("block-job-finalize", { id: "j" }),
      { wait: "concluded", id: "j" },
      run("block-job-dismiss", { id: "j" }),
    ],
    after: [],
  },
  limited: { args: { speed: 1024 * 1024 * 1024 }, steps: [], after: [] },
};

/** Commands that are refused, each in a scenario of its own. */
function errors(add: (name: string, steps: Step[]) => void): void {
  const wrong: [string, Json | undefined][] = [
    ["blockdev-add", undefined],
    ["blockdev-add", { driver: "qcow2" }],
    ["blockdev-add", { driver: "nope", "node-name": "n" }],
    ["blockdev-add", { driver: "qcow2", "node-name": "n" }],
    ["blockdev-add", { driver: "qcow2", "node-name": "n", file: 5 }],
    ["blockdev-add", { driver: "qcow2", "node-name": "n", file: "nope" }],
    ["blockdev-add", { driver: "qcow2", "node-name": "c", file: file("t.qcow2") }],
    ["blockdev-add", { driver: "qcow2", "node-name": "1x", file: file("t.qcow2") }],
    ["blockdev-add", { driver: "qcow2", "node-name": "n", file: file("nope.qcow2") }],
    ["blockdev-add", { driver: "qcow2", "node-name": "n", file: file("e.raw") }],
    ["blockdev-add", { driver: "file", "node-name": "n" }],
    ["blockdev-add", { driver: "file", "node-name": "n", filename: 5 }],
    ["blockdev-add", { driver: "file", "node-name": "n", filename: "d.raw", foo: 1 }],
    ["blockdev-add", { driver: "qcow2", "node-name": "n", file: file("t.qcow2"), foo: "x" }],
    ["blockdev-add", { driver: "qcow2", "node-name": "n", file: file("t.qcow2"), "read-only": "on" }],
    ["blockdev-add", { driver: "raw", "node-name": "n", file: file("t.qcow2"), "detect-zeroes": "unmap" }],
    ["blockdev-add", { driver: "raw", "node-name": "n", file: file("t.qcow2"), discard: "maybe" }],
    ["blockdev-add", { driver: "raw", "node-name": "n", file: file("t.qcow2"), cache: { direct: "x" } }],
    ["blockdev-add", { driver: "raw", "node-name": "n", file: file("d.raw"), offset: "x" }],
    ["blockdev-add", { file: file("t.qcow2"), "node-name": "n" }],
    ["blockdev-add", { driver: "file", filename: "d.raw" }],
    ["blockdev-del", undefined],
    ["blockdev-del", { "node-name": "nope" }],
    ["blockdev-del", { "node-name": 1 }],
    ["blockdev-del", { "node-name": "b" }],
    ["blockdev-del", { "node-name": "c", force: true }],
    ["block-stream", { device: "c" }],
    ["block-stream", { device: "nope", "job-id": "j" }],
    ["block-stream", { "job-id": "j" }],
    ["block-stream", { device: "c", "job-id": "1" }],
    ["block-stream", { device: "c", "job-id": "j", base: "nope" }],
    ["block-stream", { device: "c", "job-id": "j", base: "a.qcow2", "base-node": "a" }],
    ["block-stream", { device: "c", "job-id": "j", "base-node": "c" }],
    ["block-stream", { device: "c", "job-id": "j", "base-node": "nope" }],
    ["block-stream", { device: "c", "job-id": "j", bottom: "nope" }],
    ["block-stream", { device: "c", "job-id": "j", base: "a.qcow2", bottom: "b" }],
    ["block-stream", { device: "c", "job-id": "j", "base-node": "a", bottom: "b" }],
    ["block-stream", { device: "c", "job-id": "j", "backing-file": "x" }],
    ["block-stream", { device: "c", "job-id": "j", speed: -1 }],
    ["block-stream", { device: "c", "job-id": "j", speed: "fast" }],
    ["block-stream", { device: "c", "job-id": "j", "on-error": "panic" }],
    ["block-stream", { device: "c", "job-id": "j", foo: 1 }],
    ["block-commit", { device: "nope", "job-id": "j" }],
    ["block-commit", { device: "b", "job-id": "j" }],
    ["block-commit", { device: "c", "job-id": "j", top: "nope" }],
    ["block-commit", { device: "c", "job-id": "j", base: "nope" }],
    ["block-commit", { device: "c", "job-id": "j", top: "b.qcow2", "top-node": "b" }],
    ["block-commit", { device: "c", "job-id": "j", base: "a.qcow2", "base-node": "a" }],
    ["block-commit", { device: "c", "job-id": "j", "base-node": "nope" }],
    ["block-commit", { device: "c", "job-id": "j", "top-node": "nope" }],
    ["block-commit", { device: "c", "job-id": "j", top: "a.qcow2" }],
    ["block-commit", { device: "c", "job-id": "j", "top-node": "b", "base-node": "b" }],
    ["block-commit", { device: "c", "job-id": "j", "top-node": "a", "base-node": "b" }],
    ["block-commit", { device: "c", "job-id": "j", "backing-file": "x" }],
    ["block-commit", { device: "c", "job-id": "j", speed: -5 }],
    ["block-commit", { device: "c" }],
    ["blockdev-mirror", { device: "c", target: "c", sync: "full", "job-id": "j" }],
    ["blockdev-mirror", { device: "nope", target: "c", sync: "full", "job-id": "j" }],
    ["blockdev-mirror", { device: "c", target: "nope", sync: "full", "job-id": "j" }],
    ["blockdev-mirror", { device: "c", target: "t", sync: "full" }],
    ["blockdev-mirror", { device: "c", target: "t", sync: "some", "job-id": "j" }],
    ["blockdev-mirror", { device: "c", target: "t", "job-id": "j" }],
    ["blockdev-mirror", { device: "c", target: "t", sync: "full", "job-id": "j", granularity: 3 }],
    ["blockdev-mirror", { device: "c", target: "t", sync: "full", "job-id": "j", granularity: 134217728 }],
    ["blockdev-mirror", { device: "c", target: "t", sync: "full", "job-id": "j", granularity: 513 }],
    ["blockdev-mirror", { device: "c", target: "t", sync: "full", "job-id": "j", speed: -1 }],
    ["blockdev-mirror", { device: "b", target: "t", sync: "full", "job-id": "j" }],
    ["blockdev-mirror", { device: "c", target: "t", sync: "incremental", "job-id": "j" }],
    ["blockdev-mirror", { device: "c", target: "t", sync: "bitmap", "job-id": "j" }],
    ["drive-mirror", { device: "nope", target: "x", sync: "full", "job-id": "j" }],
    ["drive-mirror", { device: "c", sync: "full", "job-id": "j" }],
    ["blockdev-backup", { device: "c", target: "c", sync: "full", "job-id": "j" }],
    ["blockdev-backup", { device: "nope", target: "c", sync: "full", "job-id": "j" }],
    ["blockdev-backup", { device: "c", target: "nope", sync: "full", "job-id": "j" }],
    ["blockdev-backup", { device: "c", target: "t", sync: "full" }],
    ["blockdev-backup", { device: "c", target: "t", sync: "incremental", "job-id": "j" }],
    ["blockdev-backup", { device: "c", target: "t", sync: "bitmap", "job-id": "j" }],
    ["blockdev-backup", { device: "c", target: "t", sync: "bitmap", bitmap: "nope", "job-id": "j", "bitmap-mode": "never" }],
    ["blockdev-backup", { device: "c", target: "t", sync: "full", "bitmap-mode": "never", "job-id": "j" }],
    ["blockdev-backup", { device: "c", target: "t", sync: "incremental", bitmap: "nope", "job-id": "j", "bitmap-mode": "never" }],
    ["drive-backup", { device: "nope", target: "x", sync: "full", "job-id": "j" }],
    ["block-job-cancel", { device: "nope" }],
    ["block-job-pause", { device: "nope" }],
    ["block-job-resume", { device: "nope" }],
    ["block-job-complete", { device: "nope" }],
    ["block-job-set-speed", { device: "nope", speed: 1 }],
    ["block-job-set-speed", { device: "nope" }],
    ["block-job-finalize", { id: "nope" }],
    ["block-job-dismiss", { id: "nope" }],
    ["job-cancel", { id: "nope" }],
    ["job-pause", { id: "nope" }],
    ["job-resume", { id: "nope" }],
    ["job-complete", { id: "nope" }],
    ["job-finalize", { id: "nope" }],
    ["job-dismiss", { id: "nope" }],
    ["job-dismiss", undefined],
    ["block-dirty-bitmap-add", { node: "nope", name: "x" }],
    ["block-dirty-bitmap-add", { node: "c", name: "" }],
    ["block-dirty-bitmap-add", { node: "c", name: "x", granularity: 3 }],
    ["block-dirty-bitmap-add", { node: "c", name: "x", granularity: 256 }],
    ["block-dirty-bitmap-add", { node: "d", name: "x", persistent: true }],
    ["block-dirty-bitmap-add", { node: "c" }],
    ["block-dirty-bitmap-remove", { node: "c", name: "x" }],
    ["block-dirty-bitmap-remove", { node: "nope", name: "x" }],
    ["block-dirty-bitmap-clear", { node: "c", name: "x" }],
    ["block-dirty-bitmap-enable", { node: "c", name: "x" }],
    ["block-dirty-bitmap-disable", { node: "c", name: "x" }],
    ["block-dirty-bitmap-merge", { node: "c", target: "x", bitmaps: [] }],
    ["block_resize", { "node-name": "nope", size: 512 }],
    ["block_resize", { device: "nope", size: 512 }],
    ["block_resize", { size: 512 }],
    ["block_resize", { "node-name": "c" }],
    ["block_resize", { "node-name": "c", size: "big" }],
    ["change-backing-file", { device: "nope", "image-node-name": "c", "backing-file": "x" }],
    ["change-backing-file", { device: "c", "image-node-name": "nope", "backing-file": "x" }],
    ["change-backing-file", { device: "c", "image-node-name": "t", "backing-file": "x" }],
    ["change-backing-file", { device: "c", "image-node-name": "a", "backing-file": "x" }],
    ["blockdev-snapshot", { node: "c", overlay: "nope" }],
    ["blockdev-snapshot", { node: "nope", overlay: "t" }],
    ["blockdev-snapshot", { node: "c", overlay: "c" }],
    ["blockdev-snapshot", { node: "c", overlay: "b" }],
    ["blockdev-snapshot", { node: "c", overlay: "d" }],
    ["blockdev-snapshot-sync", { "node-name": "c", "snapshot-file": "x" }],
    ["blockdev-snapshot-sync", { "snapshot-file": "x" }],
    ["blockdev-snapshot-sync", { "node-name": "c", "snapshot-file": "x", "snapshot-node-name": "b" }],
    ["blockdev-snapshot-sync", { "node-name": "c", "snapshot-file": "x", "snapshot-node-name": "s", mode: "new" }],
    ["blockdev-snapshot-internal-sync", { device: "c", name: "" }],
    ["blockdev-snapshot-internal-sync", { device: "nope", name: "x" }],
    ["blockdev-snapshot-internal-sync", { device: "d", name: "x" }],
    ["blockdev-snapshot-delete-internal-sync", { device: "c" }],
    ["blockdev-snapshot-delete-internal-sync", { device: "c", id: "1" }],
    ["transaction", { actions: [] }],
    ["transaction", {}],
    ["transaction", { actions: [{ type: "nope", data: {} }] }],
    ["transaction", { actions: [{ type: "abort", data: {} }] }],
    ["transaction", { actions: [], properties: { "completion-mode": "x" } }],
    ["object-add", { id: "x" }],
    ["object-add", { "qom-type": "secret", id: "x" }],
    ["object-add", { "qom-type": "secret", id: "x", data: "a", file: "b" }],
    ["object-del", { id: "x" }],
    ["nbd-server-stop", undefined],
    ["nbd-server-add", { device: "c" }],
    ["block-export-del", { id: "x" }],
    ["block-export-add", { type: "nbd", id: "x", "node-name": "nope" }],
    ["block-export-add", { type: "nbd", id: "x", "node-name": "c" }],
    ["block-export-add", { type: "nbd", id: "1x", "node-name": "c" }],
    ["nope", undefined],
    ["qmp_capabilities", undefined],
    ["query-block", { foo: 1 }],
    ["query-block", undefined],
    ["query-blockstats", undefined],
    ["query-blockstats", { "query-nodes": true }],
    ["query-jobs", undefined],
    ["query-block-jobs", undefined],
    ["query-named-block-nodes", undefined],
    ["query-named-block-nodes", { flat: true }],
    ["query-block-exports", undefined],
  ];
  for (const [execute, args] of wrong) {
    const setup =
      execute === "query-blockstats" && args !== undefined ? plain : [...chain, node("t", "t.qcow2"), node("d", "d.raw")];
    add(`${execute} ${JSON.stringify(args ?? {})}`, [...setup, run(execute, args)]);
  }
  for (const [what, value] of Object.entries({
    "execute is a number": { execute: 1 },
    "no execute": {},
    "arguments is a list": { execute: "query-jobs", arguments: [] },
    "unknown member": { execute: "query-jobs", x: 1 },
    "exec-oob off": { "exec-oob": "query-jobs" },
    "id is echoed": { execute: "query-jobs", id: { a: [1, null, "x"] } },
    "id with an error": { execute: "nope", id: 7 },
  }))
    add(`request: ${what}`, [value]);
}
