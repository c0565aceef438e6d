/** The human monitor's commands, on images in memory. What real QEMU prints for them is compared in test/interop/hmp.test.ts. */
import { readFileSync } from "node:fs";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { decodeText, encodeText } from "../../../src/base/bytes.js";
import { runAsync } from "../../../src/block/op.js";
import { qcow2 } from "../../../src/formats/qcow2/qcow2.js";
import { raw } from "../../../src/formats/raw/raw.js";
import { BlockCore, type BlockCoreOptions } from "../../../src/qmp/block-core.js";
import { addDrive } from "../../../src/qmp/drive.js";
import { parseArguments } from "../../../src/qmp/hmp/arguments.js";
import { device, file, flag, maybe, text, word, type HmpCommand } from "../../../src/qmp/hmp/command.js";
import { HmpMonitor } from "../../../src/qmp/hmp/monitor.js";
import { HMP_COMMANDS, INFO_COMMANDS } from "../../../src/qmp/hmp/commands.js";
import { makeWorld } from "../../support/world.js";

async function makeCore(options: Partial<BlockCoreOptions> = {}): Promise<(line: string) => Promise<string>> {
  const world = makeWorld({ mode: "async", drivers: [raw, qcow2], seed: 5 });
  await world.create("qcow2", "base", 1 << 20);
  await world.create("qcow2", "top", 1 << 20, { backing_file: "base", backing_fmt: "qcow2" });
  const core = new BlockCore({ environment: world.environment, ...options });
  await runAsync(addDrive(core, { if: "none", id: "disk", file: "top", format: "qcow2", "node-name": "node" }));
  return async (line) => {
    const printed = (await core.execute("human-monitor-command", { "command-line": line })) as string;
    return printed.replace(/\d+ ops; [^\r]*\)/g, "X ops").replaceAll("\r\n", "\n");
  };
}

test("arguments: flags, words, quotes, sizes, the rest of the line, and what is wrong with them", () => {
  const command = (parameters: HmpCommand["parameters"]): HmpCommand => ({
    name: "x",
    parameters,
    usage: "",
    summary: "",
    *run() {},
  });
  const all = command([flag("n", "new"), flag("f", "force"), device, maybe({ name: "size", type: "size" }), maybe(word("tail"))]);
  assert.equal(parseArguments(all, ' -f "a b\\"c" 3 d'), { force: true, device: 'a b"c', size: 3145728, tail: "d" });
  assert.equal(parseArguments(all, " -n -f a 512B"), { new: true, force: true, device: "a", size: 512 });
  const numbers = command([
    { name: "n", type: "integer" },
    { name: "rest", type: "rest" },
  ]);
  assert.equal(parseArguments(numbers, " -0x10 all of  it"), { n: -16, rest: "all of  it" });
  for (const [line, message] of [
    [" -x a", "x: unsupported option -x"],
    ["", "x: block device name expected"],
    [" a 3 b c", "x: extraneous characters at the end of line"],
    [" a b", "invalid size"],
    [' "a', "unterminated string\nx: block device name expected"],
    [' "\\q"', "unsupported escape code: '\\q'\nx: block device name expected"],
  ] as const)
    assert.throws(
      () => parseArguments(all, line),
      (error: Error) => error.message === message,
      line,
    );
  assert.throws(() => parseArguments(command([file("f")]), " "), "filename expected");
  assert.is(text({ a: "b" }, "a"), "b");
});

test("qemu-io writes, reads and waits; its text is in the reply where there is no console", async () => {
  const hmp = await makeCore();
  assert.is(await hmp('qemu-io disk "write -P 7 0 64k"'), "wrote 65536/65536 bytes at offset 0\n64 KiB, X ops\n");
  assert.is(await hmp('qemu-io node "read -P 7 0 64k"'), "read 65536/65536 bytes at offset 0\n64 KiB, X ops\n");
  assert.is(
    await hmp('qemu-io disk "read -P 8 0 512"').then((out) => out.split("\n")[0]),
    "Pattern verification failed at offset 0, 512 bytes",
  );
  assert.is(
    await hmp('qemu-io disk "write -b"').then((out) => out.split("\n")[0]),
    "bad argument count 1 to write, expected at least 2 arguments",
  );
  assert.is(await hmp('qemu-io other "flush"'), "Error: Cannot find device='' nor node-name='other'\n");
  assert.is(await hmp('qemu-io disk "abort"'), 'command "abort" not found\n');
});

test("qemu-io prints on the console where there is one, also what ends later", async () => {
  let console_ = "";
  const hmp = await makeCore({ console: (printed) => void (console_ += printed.replace(/\d+ ops; [^\n]*\)/g, "X ops")) });
  assert.is(await hmp('qemu-io disk "aio_write -P 1 0 512"'), "");
  assert.is(await hmp('qemu-io disk "aio_flush"'), "");
  assert.is(console_, "wrote 512/512 bytes at offset 0\n512 bytes, X ops\n");
});

test("commit brings the content down; info block shows drives and nodes", async () => {
  const hmp = await makeCore();
  await hmp('qemu-io disk "write -P 3 0 64k"');
  assert.is(await hmp("commit disk"), "");
  assert.is(await hmp("commit other"), "Device 'other' not found\n");
  assert.is(await hmp('qemu-io disk "read -q -P 3 0 64k"'), "");
  assert.is(
    await hmp("info block"),
    "disk (node): top (qcow2)\n    Removable device: not locked, tray closed\n    Cache mode:       writeback\n" +
      "    Backing file:     base (chain depth: 1)\n",
  );
  assert.is((await hmp("info block node")).trim().split("\n")[0], "node: top (qcow2)");
  assert.ok((await hmp("info block -v disk")).includes("\nImages:\nimage: top\nfile format: qcow2\n"));
});

test("savevm, loadvm and delvm are snapshots of all writable disks", async () => {
  const hmp = await makeCore();
  await hmp('qemu-io disk "write -q -P 1 0 64k"');
  assert.is(await hmp("savevm one"), "");
  await hmp('qemu-io disk "write -q -P 2 0 64k"');
  assert.ok((await hmp("info snapshots")).includes("--        one "));
  assert.is(await hmp("loadvm one"), "");
  assert.is(await hmp('qemu-io disk "read -q -P 1 0 64k"'), "");
  assert.is(await hmp("delvm one"), "");
  assert.is(await hmp("info snapshots"), "There is no snapshot available.\n");
  assert.is(await hmp("loadvm one"), "Error: Snapshot 'one' does not exist in one or more devices\n");
});

test("jobs, drives and errors go through the commands of QMP", async () => {
  const hmp = await makeCore();
  assert.is(await hmp("nosuch"), "unknown command: 'nosuch'\n");
  assert.is(await hmp("block_resize disk 2"), "");
  assert.ok((await hmp("info block -v disk")).includes("virtual size: 2 MiB"));
  assert.is(await hmp("drive_add 0 if=none,id=more"), "OK\n");
  assert.is(await hmp("drive_del more"), "");
  assert.is(await hmp("drive_del more"), "Device 'more' not found\n");
  assert.is(await hmp("eject -f disk"), "");
  assert.is((await hmp("info block disk")).split("\n")[0], "disk: [not inserted]");
  assert.is(await hmp("drive_backup disk copy"), "Error: Device 'disk' has no medium\n");
});

test("the monitor greets, echoes what is typed as a line editor does, and prompts until the end", async () => {
  const world = makeWorld({ mode: "async", drivers: [raw, qcow2], seed: 5 });
  let ending = false;
  const core = new BlockCore({ environment: world.environment, onQuit: () => void (ending = true) });
  let screen = "";
  const monitor = new HmpMonitor(
    core,
    {
      incoming: (async function* () {
        for (const typed of ["fx\u007Foo\n", "quit\nfoo\n"]) yield encodeText(typed);
      })(),
      write: async (parts) => void (screen += parts.map((part) => decodeText(part)).join("")),
      close: () => {},
    },
    { version: "7.2.0", isEnding: () => ending },
  );
  await monitor.greet();
  await monitor.serve();
  const echo = (...shown: string[]): string =>
    shown.map((line, index) => "\u001B[D".repeat(index === 0 ? 0 : shown[index - 1]!.length) + line + "\u001B[K").join("");
  assert.is(
    screen,
    "QEMU 7.2.0 monitor - type 'help' for more information\r\n(qemu) " +
      echo("f", "fx", "f", "fo", "foo") +
      "\r\nunknown command: 'foo'\r\n(qemu) " +
      echo("q", "qu", "qui", "quit") +
      "\r\n",
  );
});

test("help knows every command", async () => {
  const hmp = await makeCore();
  const all = await hmp("help");
  for (const { name } of HMP_COMMANDS) assert.ok(all.includes(name), name);
  const info = await hmp("info");
  for (const { name } of INFO_COMMANDS) assert.ok(info.includes(`info ${name} `), name);
  const document = readFileSync("docs/HMP.md", "utf8");
  for (const { name } of HMP_COMMANDS) assert.ok(document.includes(`\`${name}`), `docs/HMP.md: ${name}`);
  for (const { name } of INFO_COMMANDS) assert.ok(document.includes(`\`info ${name}`), `docs/HMP.md: info ${name}`);
  assert.is(await hmp("help quit"), "quit|q  -- quit the emulator\n");
});

test.run();
