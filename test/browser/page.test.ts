/**
 * The package in a page's main thread: the built browser entry opens File, Blob and URL, makes and converts an image, and
 * does the same where a Content-Security-Policy forbids WebAssembly.
 */
import { build } from "esbuild";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { skip } from "../support/skip.js";
import { Unavailable } from "../support/portable-suite.js";
import { withBrowser } from "./harness.js";

/** Runs in the page; sends back what it saw. */
const SCRIPT = `
import { compare, convert, create, kernelStatus, memoryStorage, open } from "./build/dist/browser.js";
import { blobStorage, openReader, qcow2Reader, rawReader } from "./build/dist/reader.js";
globalThis.run = async () => {
  const made = memoryStorage(0);
  await create(made, { format: "qcow2", size: 8 * 1024 * 1024 });
  const image = await open(made, { format: "qcow2", writable: true });
  const bytes = Uint8Array.from({ length: 200000 }, (_, i) => i & 255);
  await image.write(bytes, 1000000);
  await image.close();
  const file = new File([made.toBytes()], "disk.qcow2");
  const seen = {};
  for (const [name, source] of Object.entries({ file, blob: new Blob([made.toBytes()]), url: new URL("/pattern", location.href) })) {
    const opened = await open(source);
    const part = await opened.read(name === "url" ? 65530 : 1000000, 16);
    seen[name] = { format: opened.format, size: opened.size, part: [...part] };
    if (name === "file") {
      const result = await opened.check();
      seen.check = [result.corruptions ?? 0, result.leaks ?? 0, result.checkErrors];
      seen.data = [];
      for await (const entry of opened.extents()) if (entry.data) seen.data.push([entry.start, entry.length]);
      const small = memoryStorage(0);
      await convert(opened, small, { format: "qcow2", compress: true });
      const again = await open(small);
      seen.identical = (await compare(opened, again)).identical;
      seen.smaller = small.toBytes().length < made.toBytes().length;
      await again.close();
      let streamed = 0;
      for await (const chunk of opened.stream()) streamed += chunk.length;
      seen.streamed = streamed;
    }
    await opened.close();
  }
  const reader = await openReader(blobStorage(file), { formats: [qcow2Reader, rawReader] });
  seen.reader = { format: reader.format, size: reader.size, part: [...await reader.read(1000000, 16)] };
  await reader.close();
  seen.kernel = kernelStatus().flavour;
  let wasm = true;
  try { new WebAssembly.Module(Uint8Array.of(0, 97, 115, 109, 1, 0, 0, 0)); } catch { wasm = false; }
  seen.wasm = wasm;
  return seen;
};
`;

interface Seen {
  file: { format: string; size: number; part: number[] };
  blob: { format: string; size: number; part: number[] };
  url: { format: string; size: number; part: number[] };
  reader: { format: string; size: number; part: number[] };
  kernel: string;
  check: number[];
  data: number[][];
  identical: boolean;
  smaller: boolean;
  streamed: number;
  wasm: boolean;
}

const page = suite("a page's main thread");

for (const [title, policy] of [
  ["without a policy", null],
  ["with a Content-Security-Policy that forbids WebAssembly", "default-src 'self'; script-src 'self'; img-src data:"],
] as const) {
  page(title, async () => {
    try {
      await withBrowser(async (browser) => {
        const out = join(browser.dir, "page.js");
        await build({
          stdin: { contents: SCRIPT, resolveDir: process.cwd() },
          outfile: out,
          bundle: true,
          format: "esm",
          platform: "browser",
          target: "es2022",
          logLevel: "warning",
        });
        const meta = policy === null ? "" : `<meta http-equiv="Content-Security-Policy" content="${policy}">`;
        const html = `<!doctype html><meta charset=utf-8>${meta}<link rel=icon href=data:,><title>page</title><script type=module src=/page.js></script>`;
        browser.server.bodies.set("/", { type: "text/html", content: new TextEncoder().encode(html) });
        browser.server.bodies.set("/page.js", { type: "text/javascript", content: readFileSync(out) });
        const tab = await browser.open("/");
        // Not evaluate(): a policy without 'unsafe-eval' refuses strings, and functions of the page are all that is needed.
        const seen = (await tab.evaluate(() => (globalThis as unknown as { run(): Promise<unknown> }).run())) as Seen;
        const expected = Array.from({ length: 16 }, (_, i) => i);
        for (const name of ["file", "blob", "reader"] as const)
          assert.equal(seen[name], { format: "qcow2", size: 8 * 1024 * 1024, part: expected }, name);
        assert.equal(seen.url, {
          format: "raw",
          size: 1048589,
          part: Array.from({ length: 16 }, (_, i) => ((65530 + i) % 251) ^ (Math.floor((65530 + i) / 65536) & 255)),
        });
        assert.equal(seen.check, [0, 0, 0]);
        assert.ok(
          seen.data.every(([start, length]) => start! <= 1_000_000 + 200_000 && start! + length! >= 1_000_000),
          JSON.stringify(seen.data),
        );
        assert.is(seen.data.length > 0, true);
        assert.is(seen.identical, true);
        assert.is(seen.smaller, true);
        assert.is(seen.streamed, 8 * 1024 * 1024);
        assert.is(seen.wasm, policy === null, "whether the page may compile WebAssembly");
        assert.is(seen.kernel, policy === null ? "wasm" : "js");
      });
    } catch (error) {
      if (error instanceof Unavailable) skip(error.message);
      else throw error;
    }
  });
}

page.run();
