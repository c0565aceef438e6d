/** What the documents show runs as it stands: every piece of JavaScript, and the commands of the README against qemu-img's. */
import { spawnSync } from "node:child_process";
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join, posix, resolve } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import * as node from "../../src/node.js";
import { hasQemu } from "../support/qemu.js";
import { skip } from "../support/skip.js";
import { tempPath } from "../support/temp.js";

const documents = ["README.md", "CHANGELOG.md", "SECURITY.md", ...walk("docs")];
function walk(dir: string): string[] {
  return readdirSync(dir, { withFileTypes: true }).flatMap((entry) =>
    entry.isDirectory() ? walk(posix.join(dir, entry.name)) : entry.name.endsWith(".md") ? [posix.join(dir, entry.name)] : [],
  );
}
const textOf = (document: string): string => readFileSync(document, "utf8");

const docs = suite("documents");

/** What the text around a snippet supposes, by the document and the first line that tells them apart. */
const BEFORE: [document: string, has: string, code: string][] = [
  ["docs/API.md", "new BlockCore({", `const file = memoryStorage(0); await create(file, { format: "qcow2", size: MiB });`],
  [
    "docs/API.md",
    "{ journal }",
    `const core = new BlockCore(), journal = memoryStorage(0);
     for (const name of ["disk", "copy"]) await core.execute("blockdev-add", { driver: "null-co", "node-name": name, size: MiB });`,
  ],
  ["docs/NBD.md", "serveNbd", "const { port1, port2 } = new MessageChannel();"],
  [
    "docs/formats/ova.md",
    "listOva",
    `const { create, memoryStorage } = await import("blockcore/node");
     const disk = memoryStorage(0); await create(disk, { format: "raw", size: 1 << 20 });
     const made = createFileStorage("appliance.ova");
     await writeOva(await open(disk, { format: "raw" }), made, { name: "disk" });
     await closeStorage(made);`,
  ],
];

for (const document of documents.filter((name) => name !== "README.md")) {
  // The README's are cut from the examples, which are run.
  for (const [, code] of textOf(document).matchAll(/^```(?:ts|js)\n([\s\S]*?)^```/gm)) {
    docs(`${document}: ${code!.split("\n")[0]!.slice(0, 60)}`, () => {
      const before = BEFORE.find(([name, has]) => name === document && code!.includes(has))?.[2] ?? "";
      const imports = /^import /m.test(code!) ? "" : `import { ${Object.keys(node).join(", ")} } from "blockcore/node";`;
      const dir = tempPath("docs");
      mkdirSync(dir);
      // `-e` is resolved where the process was started: in this package, which may name itself.
      const script = `${imports}\nprocess.chdir(${JSON.stringify(dir)});\n${before}\n${code}\nprocess.exit(0);`;
      const ran = spawnSync(process.execPath, ["--input-type=module", "-e", script], { encoding: "utf8", timeout: 30_000 });
      assert.is(ran.status, 0, `${ran.stderr}\n${script}`);
    });
  }
}

docs("the README's commands say what qemu-img says", async () => {
  const rows = [...textOf("README.md").matchAll(/^\| `(qemu-(?:img|io) [^`]*)` \| `([^`]*)` \|$/gm)];
  assert.ok(rows.length >= 7, `${rows.length} commands`);
  const ours = tempPath("ours");
  const theirs = tempPath("theirs");
  for (const dir of [ours, theirs]) mkdirSync(dir);
  const content = node.memoryStorage(new Uint8Array(node.MiB).fill(7, 65536));
  await node.convert(content, join(ours, "in.raw"));
  for (const name of ["base.qcow2", "a.qcow2"]) await node.convert(content, join(ours, name), { format: "qcow2" });
  await node.convert(content, join(ours, "b.raw"));
  await (await node.createOverlay(join(ours, "disk.qcow2"), { backing: "base.qcow2", backingFormat: "qcow2" })).close();
  for (const name of readdirSync(ours)) copyFileSync(join(ours, name), join(theirs, name));
  const run = (cwd: string, program: string, args: string[]): { status: number | null; output: string } => {
    const { status, stdout, stderr } = spawnSync(program, args, { cwd, encoding: "utf8", timeout: 60_000 });
    // How long it took, where the progress was seen, and what the copy of a file occupies.
    const output = `${stdout}${stderr}`.replace(/(\d+ ops;).*|\([\d.]+\/100%\)\r?|"actual-size": \d+/g, "$1").trim();
    return { status, output };
  };
  for (const [, theirLine, ourLine] of rows) {
    const words = (line: string): string[] => [...line.matchAll(/"([^"]*)"|(\S+)/g)].map((match) => match[1] ?? match[2]!);
    const [program, ...args] = words(ourLine!);
    const file = program === "blockcore" ? "build/cli.js" : program!;
    const mine = run(ours, process.execPath, [resolve(file), ...args]);
    assert.is(mine.status, 0, `${ourLine}: ${mine.output}`);
    if (hasQemu) {
      const [real, ...realArgs] = words(theirLine!);
      assert.equal(mine, run(theirs, real!, realArgs), ourLine);
    }
  }
  if (!hasQemu) skip("qemu-img is not installed: its answers were not compared");
});

docs("links lead somewhere", () => {
  const lost: string[] = [];
  for (const document of documents) {
    for (const [, target] of textOf(document).matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^(https?:|#)/.test(target!)) continue;
      if (!existsSync(join(dirname(document), target!.split("#")[0]!))) lost.push(`${document}: ${target}`);
    }
  }
  assert.equal(lost, []);
});

docs.run();
