/** What the edge entry relies on: a kernel module, ranged fetches, and nothing of Node. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { kernelModule } from "../../src/kernel/module.inline.js";
import { place } from "../support/portable.js";

const runtime = suite("runtime");

runtime("the kernel module compiles or is there, and can be instantiated", () => {
  const module = kernelModule();
  assert.instance(module, WebAssembly.Module);
  const needs = WebAssembly.Module.imports(module);
  assert.equal(needs, [{ module: "env", name: "memory", kind: "memory" }]);
  const memory = new WebAssembly.Memory({ initial: 16, maximum: 16 });
  const instance = new WebAssembly.Instance(module, { env: { memory } });
  const functions = Object.values(instance.exports).filter((value) => typeof value === "function");
  assert.is(functions.length, WebAssembly.Module.exports(module).length);
  assert.ok(functions.length > 0);
});

runtime("a range can be fetched", async () => {
  const response = await fetch(`${place().server}/pattern`, { headers: { Range: "bytes=65530-65545" } });
  assert.is(response.status, 206);
  assert.is(response.headers.get("content-range"), "bytes 65530-65545/1048589");
  const bytes = new Uint8Array(await response.arrayBuffer());
  const expected = Uint8Array.from({ length: 16 }, (_, i) => ((65530 + i) % 251) ^ (Math.floor((65530 + i) / 65536) & 255));
  assert.equal(bytes, expected);
});

runtime("workerd alone compiles nothing at run time", () => {
  const compile = (): WebAssembly.Module => new WebAssembly.Module(Uint8Array.of(0, 97, 115, 109, 1, 0, 0, 0));
  if (place().runtime === "workerd") assert.throws(compile);
  else assert.instance(compile(), WebAssembly.Module);
});

runtime.run();
