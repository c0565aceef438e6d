/** Every example runs, and what the README shows is cut from the examples. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { allFormats, convert, create, memoryStorage, MiB, open } from "../../src/node.js";
import { loopback } from "../support/loopback.js";

function inTemporary(action: (dir: string) => void): void {
  const dir = mkdtempSync(join(tmpdir(), "blockcore-examples-"));
  try {
    action(dir);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}
function run(file: string, dir: string): string {
  const done = spawnSync(process.execPath, [file, dir], { encoding: "utf8", timeout: 30_000 });
  assert.is(done.status, 0, done.stderr);
  return done.stdout;
}
/** An image with a boot sector's mark, as bytes of a qcow2 file. */
async function bootable(): Promise<Uint8Array> {
  const made = memoryStorage(0);
  await create(made, { format: "qcow2", size: 4 * MiB });
  const image = await open(made, { format: "qcow2", writable: true });
  await image.write(Uint8Array.of(0x55, 0xaa), 510);
  await image.close();
  const packed = memoryStorage(0);
  await convert(made, packed, { format: "qcow2", compress: true });
  return packed.toBytes();
}
const load = async (file: string): Promise<unknown> => await import(pathToFileURL(resolve("examples", file)).href);

const examples = suite("examples");

examples("node.mjs", () => {
  inTemporary((dir) => {
    const output = run("examples/node.mjs", dir);
    assert.match(output, "data at 1048576 length 65536");
    assert.match(output, "errors: 0 leaks: 0");
    assert.equal(readdirSync(dir).sort(), ["disk.qcow2", "small.qcow2"]);
  });
});

examples("live.mjs", () => {
  inTemporary((dir) => {
    const output = run("examples/live.mjs", dir);
    assert.match(output, "ready: move 8388608 bytes");
    assert.match(output, "disk: as it is. on moved - copy: as it was");
  });
});

examples("backup.mjs", () => {
  inTemporary((dir) => {
    const output = run("examples/backup.mjs", dir);
    assert.match(output, "pulled 1048576 bytes at 5242880 beginning with 1");
    assert.match(output, "pushed 1048576 bytes");
  });
});

examples("backing.mjs", () => {
  inTemporary((dir) => {
    const output = run("examples/backing.mjs", dir);
    assert.match(output, "ERR_DENIED");
    assert.match(output, "size: 16777216");
  });
});

examples("page.mjs", async () => {
  const { inspect } = (await load("page.mjs")) as {
    inspect(file: Blob): Promise<{ format: string; size: number; bootable: boolean; download: Response }>;
  };
  const seen = await inspect(new Blob([(await bootable()) as Uint8Array<ArrayBuffer>]));
  assert.is(seen.format, "qcow2");
  assert.is(seen.size, 4 * MiB);
  assert.is(seen.bootable, true);
  const raw = new Uint8Array(await seen.download.arrayBuffer());
  assert.is(raw.length, 4 * MiB);
  assert.is(raw[511], 0xaa);
});

examples("edge.mjs", async () => {
  const server = await loopback();
  try {
    server.bodies.set("/disk.qcow2", { type: "application/octet-stream", content: await bootable() });
    const worker = ((await load("edge.mjs")) as { default: { fetch(request: Request): Promise<Response> } }).default;
    const response = await worker.fetch(new Request(`http://edge/?image=${encodeURIComponent(`${server.address}/disk.qcow2`)}`));
    const raw = new Uint8Array(await response.arrayBuffer());
    assert.is(raw.length, 4 * MiB);
    assert.equal([...raw.subarray(509, 513)], [0, 0x55, 0xaa, 0]);
    // A damaged image ends the response, it does not hang.
    const bytes = (await bootable()).slice();
    bytes.fill(0xff, bytes.length - 512);
    bytes.fill(0xee, 5 * 65536, 5 * 65536 + 64);
    server.bodies.set("/bad.qcow2", { type: "application/octet-stream", content: bytes });
    const broken = await worker.fetch(new Request(`http://edge/?image=${encodeURIComponent(`${server.address}/bad.qcow2`)}`));
    await broken.arrayBuffer().then(
      () => assert.unreachable("the response was complete"),
      () => {},
    );
  } finally {
    await server.close();
  }
});

examples("each snippet of the README is in an example, line by line", () => {
  const source = (text: string): string[] =>
    text
      .split("\n")
      .map((line) => line.trim())
      .filter((line) => line !== "" && !line.startsWith("//"));
  const known = readdirSync("examples").map((file) => source(readFileSync(join("examples", file), "utf8")).join("\n"));
  const readme = readFileSync("README.md", "utf8");
  const blocks = [...readme.matchAll(/^```js\n([\s\S]*?)^```/gm)].map((match) => match[1]!);
  assert.ok(blocks.length >= 5, `${blocks.length} snippets`);
  for (const block of blocks) {
    const lines = source(block).filter((line) => !line.startsWith("import "));
    const imports = source(block).filter((line) => line.startsWith("import "));
    assert.ok(
      known.some((text) => text.includes(lines.join("\n")) && imports.every((line) => text.includes(line))),
      `not in an example:\n${block}`,
    );
  }
});

examples("the README's table of formats says what the formats do", async () => {
  const rows = [...readFileSync("README.md", "utf8").matchAll(/^\| `(\w+)`[^|]*\|((?: (?:yes|–) \|){8})$/gm)];
  const table = new Map(
    rows.map((row) => [
      row[1]!,
      row[2]!
        .split("|")
        .slice(0, -1)
        .map((cell) => cell.trim() === "yes"),
    ]),
  );
  assert.equal([...table.keys()].sort(), allFormats.map(({ name }) => name).sort(), "each format has a row");
  for (const driver of allFormats) {
    const actual: boolean[] = [
      true,
      false,
      driver.create !== undefined,
      driver.supportsBacking === true || driver.hasParents === true,
      false,
      false,
      false,
      false,
    ];
    if (driver.create !== undefined) {
      const storage = memoryStorage(0);
      const secrets = { s: "secret" };
      const luks = driver.name === "luks";
      await create(storage, {
        format: driver.name,
        size: 8 * MiB,
        secrets,
        ...(luks ? { "key-secret": "s", "iter-time": 10 } : {}),
      });
      const image = await open(storage, {
        format: driver.name,
        writable: true,
        secrets,
        ...(luks ? { options: { "key-secret": "s" } } : {}),
      });
      const { impl } = image.node;
      await image.write(new Uint8Array(5000).fill(7), 100_000);
      actual[1] = (await image.read(104_999, 1))[0] === 7;
      if (impl.shape === "mapped") {
        actual[4] = impl.check !== undefined;
        actual[6] = impl.writeCompressed !== undefined;
        actual[7] = impl.snapshots !== undefined;
      }
      actual[5] = impl.shape !== "storage" && impl.truncate !== undefined;
      await image.close();
    }
    assert.equal(table.get(driver.name), actual, driver.name);
  }
});

examples.run();
