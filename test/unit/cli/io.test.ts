/** qemu-io without any QEMU: output, exit status, aio, on images in memory. The comparison with the real program is test/interop/qemu-io.test.ts. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { ioMain } from "../../../src/cli/io/program.js";
import { dumpText } from "../../../src/image/io/report.js";
import { isAll } from "../../../src/image/io/transfer.js";
import { repeatInto } from "../../../src/image/io/pattern-file.js";
import { qcow2 } from "../../../src/formats/qcow2/qcow2.js";
import { raw } from "../../../src/formats/raw/raw.js";
import { makeWorld, type World } from "../../support/world.js";

async function io(
  world: World,
  args: readonly string[],
  input: readonly string[] = [],
): Promise<{ status: number; out: string; err: string }> {
  let out = "";
  let err = "";
  const lines = [...input];
  const status = await ioMain(args, {
    name: "qemu-io",
    version: "test",
    output: { write: (text) => void (out += text), writeError: (text) => void (err += text), flush: () => {} },
    readLine: async () => lines.shift() ?? null,
    environment: () => world.environment,
  });
  return { status, out: out.replace(/\d+ ops; [^\n]*\)/g, "X ops"), err };
}
const commands = (...list: string[]): string[] => list.flatMap((command) => ["-c", command]);

async function image(): Promise<World> {
  const world = makeWorld({ mode: "async", drivers: [raw, qcow2], seed: 3 });
  await world.create("qcow2", "disk", 1048576);
  return world;
}

test("writes, verifies, dumps and reports", async () => {
  const world = await image();
  const { status, out, err } = await io(world, [
    "disk",
    ...commands("write -P 0x41 512 1k", "read -P 65 -s 0 512 1k", "read -v 510 4", "map", "alloc 0 1m", "length"),
  ]);
  assert.is(err, "");
  assert.is(status, 0);
  assert.is(
    out,
    "wrote 1024/1024 bytes at offset 512\n1 KiB, X ops\nread 1024/1024 bytes at offset 512\n1 KiB, X ops\n" +
      "000001fe:  00 00 41 41  ..AA\nread 4/4 bytes at offset 510\n4 bytes, X ops\n" +
      "64 KiB (0x10000) bytes     allocated at offset 0 bytes (0x0)\n960 KiB (0xf0000) bytes not allocated at offset 64 KiB (0x10000)\n" +
      "65536/1048576 bytes allocated at offset 0 bytes\n1 MiB\n",
  );
});

test("a failed command makes the exit status 1 and the others still run", async () => {
  const world = await image();
  const { status, out, err } = await io(world, [
    "disk",
    ...commands("read -P 9 0 512", "foo", "write -q 0 1k", "read -q -P 0xcd 0 1k"),
  ]);
  assert.is(status, 1);
  assert.is(out, "Pattern verification failed at offset 0, 512 bytes\nread 512/512 bytes at offset 0\n512 bytes, X ops\n");
  assert.is(err, 'command "foo" not found\n');
});

test("aio requests run beside each other and all report before the end", async () => {
  const world = await image();
  const list = Array.from({ length: 8 }, (_, i) => `aio_write -P ${i + 1} ${i * 3000} 3000`);
  const { status, out } = await io(world, [
    "disk",
    ...commands(...list, "aio_flush", ...list.map((_, i) => `read -q -P ${i + 1} ${i * 3000} 3000`), "aio_read 0 10"),
  ]);
  assert.is(status, 0);
  assert.equal(
    [...out.matchAll(/^wrote 3000\/3000 bytes at offset (\d+)$/gm)].map((match) => Number(match[1])).sort((a, b) => a - b),
    [0, 3000, 6000, 9000, 12000, 15000, 18000, 21000],
  );
  assert.match(out, "read 10/10 bytes at offset 0");
});

test("commands from standard input are prompted for, and the image is closed at the end", async () => {
  const world = await image();
  const { status, out } = await io(world, ["disk"], ["write -q -P 7 0 1k", "quit", "write -q 0 1k"]);
  assert.is(status, 0);
  assert.is(out, "qemu-io> qemu-io> ");
  assert.is((await io(world, ["-r", "disk", ...commands("read -q -P 7 0 1k")])).status, 0);
});

test("a snapshot session leaves the image alone; a failed open is an exit status of 1", async () => {
  const world = await image();
  assert.is((await io(world, ["-s", "disk", ...commands("write -q -P 5 0 64k", "read -q -P 5 0 64k")])).status, 0);
  assert.is((await io(world, ["disk", ...commands("read -q -P 0 0 64k")])).status, 0);
  assert.equal(await io(world, ["missing"]), {
    status: 1,
    out: "",
    err: "qemu-io: can't open device missing: Could not open 'missing': No such file or directory\n",
  });
});

test("VM state is written and read beside the disk", async () => {
  const world = await image();
  assert.is(
    (await io(world, ["disk", ...commands("write -q -b -P 3 512 1k", "write -q -b -P 4 64k 64k", "write -q -P 9 0 1k")])).status,
    0,
  );
  const { status, out } = await io(world, [
    "disk",
    ...commands("read -q -b -P 3 512 1k", "read -q -b -P 0 1536 1k", "read -q -b -P 4 64k 64k", "read -q -P 9 0 1k", "length"),
  ]);
  assert.is(status, 0, out);
  assert.is(out, "1 MiB\n");
});

test("reopen changes what may change and says what may not", async () => {
  const world = await image();
  const { err } = await io(world, [
    "disk",
    ...commands(
      "reopen -r",
      "write 0 1k",
      "reopen -w",
      "write -q 0 1k",
      "reopen -o driver=raw",
      "reopen -o lazy-refcounts=on",
      "reopen -rw",
    ),
  ]);
  assert.is(
    err,
    "qemu-io: Block node is read-only\nqemu-io: Cannot change the option 'driver'\nqemu-io: Only one -r/-w option may be given\n",
  );
});

test("helpers: comparing with a byte, repeating a pattern, dumping", () => {
  for (const length of [0, 1, 3, 4, 5, 64, 1001]) {
    for (const start of [0, 1, 2, 3]) {
      const bytes = new Uint8Array(length + 8).subarray(start, start + length).fill(0xcd);
      assert.is(isAll(bytes, 0xcd), true);
      for (const at of [0, length >> 1, length - 1]) {
        if (at < 0 || at >= length) continue;
        bytes[at] = 1;
        assert.is(isAll(bytes, 0xcd), false, `${length} ${start} ${at}`);
        bytes[at] = 0xcd;
      }
    }
  }
  const into = new Uint8Array(7);
  repeatInto(into, 4, Uint8Array.of(1, 2, 3));
  assert.equal([...into], [2, 3, 1, 2, 3, 1, 2]);
  assert.is(
    dumpText(new TextEncoder().encode("0123456789abcdef\n"), 0x20),
    "00000020:  30 31 32 33 34 35 36 37 38 39 61 62 63 64 65 66  0123456789abcdef\n00000030:  0a  .\n",
  );
});

test.run();
