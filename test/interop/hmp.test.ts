// time-limit: 120 s
/** The human monitor, ours in the stand-in emulator and QEMU's, side by side: what human-monitor-command returns. */
import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { hasQemu, qemu } from "../support/qemu.js";
import { skip } from "../support/skip.js";

const OURS = resolve("build/standin/qemu-system-x86_64");
const THEIRS = "qemu-system-x86_64";
const isReference = hasQemu && /version 7\.2\./.test(spawnSync(THEIRS, ["--version"], { encoding: "utf8" }).stdout ?? "");

/** Two writable drives with images, `none0` over a backing file; `n` is a node without a drive that cannot be written. */
const DRIVES = ["-drive", "if=none,file=top.qcow2", "-drive", "if=none,id=raw,file=plain.raw,format=raw"];
const COMMANDS: readonly string[] = [
  "qemu-io",
  "qemu-io none0",
  'qemu-io none0 "read 0 512"',
  'qemu-io none0 "read 0 512" x',
  "qemu-io none0 'read 0 512'",
  'qemu-io none0 "write 0 64k"',
  'qemu-io -d nosuch "flush"',
  'qemu-io nosuch "flush"',
  'qemu-io none0 "reopen -c none"',
  "info block",
  'qemu-io none0 "reopen -c writethrough"',
  "info block none0",
  'qemu-io none0 "reopen -o cache.no-flush=on"',
  "info block none0",
  'qemu-io none0 "reopen -o backing.cache.no-flush=on,lazy-refcounts=on"',
  "info block -n",
  'qemu-io none0 "reopen -o driver=raw"',
  'qemu-io none0 "reopen -r"',
  "info block none0",
  'qemu-io none0 "write 0 512"',
  'qemu-io none0 "reopen -w"',
  "commit",
  "commit nosuch",
  "commit none0",
  "commit raw",
  "commit all",
  "info block -x",
  "info block nosuch",
  "foo bar",
  "info foo",
  "block_resize none0 3",
  "block_resize none0 x",
  "block_resize none0",
  "block_resize raw 2M",
  "info block -v none0",
  "info block-jobs",
  "block_set_io_throttle none0 0 0 0 100 0 0",
  "info block none0",
  "block_set_io_throttle none0 1 2 3 4 5",
  "snapshot_blkdev none0",
  "snapshot_blkdev none0 over.qcow2 qcow2",
  "info block none0",
  "savevm one",
  "loadvm one",
  "delvm one",
  "drive_backup",
  "drive_backup none0",
  "drive_mirror -x none0 a",
  "block_stream nosuch",
  "block_job_cancel x",
  "block_job_set_speed x 10",
  "nbd_server_start",
  "nbd_server_stop",
  "nbd_server_add none0",
  "nbd_server_start -w localhost:0",
  "eject none0 x",
  "eject raw",
  "info block raw",
  "eject nosuch",
  "drive_add 0 if=none,id=z",
  "drive_add 0 if=none,id=z",
  "info block z",
  "drive_del z",
  "drive_del z",
  "object_add throttle-group,id=t,x-iops-total=5",
  "object_del t",
  "object_del t",
  "stop",
  "info status",
  "cont",
  "info status",
  "info name",
  "info uuid",
];

function normal(text: string): string {
  return text
    .replace(/#block\d+/g, "#block")
    .replace(/disk size: .*/g, "disk size: X")
    .replace(/\d+ ops;[^\n]*/g, "X ops");
}

/** Replies in order, and what was printed on standard output in between. */
async function replies(program: string, cwd: string): Promise<string[]> {
  const child = spawn(program, ["-nodefaults", "-display", "none", "-monitor", "none", "-qmp", "stdio", ...DRIVES], {
    cwd,
    stdio: ["pipe", "pipe", "pipe"],
  });
  const out: string[] = [];
  const say = (execute: string, args?: object): void =>
    void child.stdin.write(`${JSON.stringify({ execute, ...(args === undefined ? {} : { arguments: args }) })}\n`);
  let next = 0;
  let pending: string[] = [];
  for await (const line of createInterface({ input: child.stdout })) {
    const message = line.startsWith('{"') ? (JSON.parse(line) as { QMP?: object; event?: string; return?: unknown }) : null;
    if (message === null) {
      pending.push(normal(line));
      continue;
    }
    if (message.event !== undefined) continue;
    if (message.QMP !== undefined) {
      say("qmp_capabilities");
      continue;
    }
    if (next > 0 && next <= COMMANDS.length) {
      out.push([`${COMMANDS[next - 1]!}:`, ...pending, normal(JSON.stringify(message))].join("\n"));
      pending = [];
    }
    if (next < COMMANDS.length) say("human-monitor-command", { "command-line": COMMANDS[next]! });
    else if (next === COMMANDS.length) say("quit");
    next++;
  }
  return out;
}

test("every command says the same as QEMU's", async () => {
  if (!isReference) return skip("qemu-system-x86_64 7.2 is not installed");
  if (!existsSync(OURS)) return skip("build/standin/qemu-system-x86_64 is not built");
  const dirs = [mkdtempSync(join(tmpdir(), "hmp-")), mkdtempSync(join(tmpdir(), "hmp-"))] as const;
  try {
    for (const dir of dirs) {
      qemu("qemu-img", "create", "-q", "-f", "qcow2", join(dir, "base.qcow2"), "2M");
      qemu("qemu-img", "create", "-q", "-f", "qcow2", "-b", "base.qcow2", "-F", "qcow2", join(dir, "top.qcow2"));
      qemu("qemu-img", "create", "-q", "-f", "raw", join(dir, "plain.raw"), "1M");
    }
    const [theirs, ours] = await Promise.all([replies(THEIRS, dirs[0]), replies(OURS, dirs[1])]);
    assert.equal(ours, theirs);
    assert.is(ours.length, COMMANDS.length);
  } finally {
    for (const dir of dirs) rmSync(dir, { recursive: true });
  }
});

test.run();
