import { test } from "uvu";
import * as assert from "uvu/assert";
import { MAX_KERNEL_BYTES, createKernel, kernelFlavour, kernelStatus, setKernelModule } from "../../../src/kernel/kernel.js";
import { RegionPlan, regionBytes } from "../../../src/kernel/memory.js";
import { kernelModule } from "../../../src/kernel/module.inline.js";

test.after.each(() => setKernelModule(null));

test("without a module there is the twin", () => {
  setKernelModule(null);
  assert.is(createKernel(1).flavour, "js");
  assert.is(kernelFlavour(), "js");
  assert.ok(kernelStatus().reason);
});

test("the module is compiled once, at the first kernel", () => {
  let compiled = 0;
  setKernelModule(() => {
    compiled++;
    return kernelModule();
  });
  assert.is(compiled, 0);
  assert.is(createKernel(1).flavour, "wasm");
  assert.is(createKernel(1).flavour, "wasm");
  assert.is(compiled, 1);
  assert.equal(kernelStatus(), { flavour: "wasm" });
});

test("where compiling is forbidden the twin steps in, and says why", () => {
  let tried = 0;
  setKernelModule(() => {
    tried++;
    throw new WebAssembly.CompileError("disallowed by embedder");
  });
  assert.is(createKernel(1).flavour, "js");
  assert.is(createKernel(1).flavour, "js");
  assert.is(tried, 1);
  assert.match(String(kernelStatus().reason), "disallowed");
});

test("every kernel has its own memory, in whole pages", () => {
  setKernelModule(kernelModule());
  const a = createKernel(65537);
  const b = createKernel(0);
  assert.is(a.memory.length, 131072);
  assert.is(b.memory.length, 65536);
  a.memory[70] = 1;
  assert.ok(b.isZero(0, 65536));
  assert.not.ok(a.isZero(0, 131072));
});

test("both flavours have the same functions", () => {
  setKernelModule(null);
  const twin = createKernel(0);
  setKernelModule(kernelModule);
  const wasm = createKernel(0);
  assert.equal(Object.keys(wasm).sort(), Object.keys(twin).sort());
  for (const [name, value] of Object.entries(wasm))
    assert.is(typeof value, typeof (twin as unknown as Record<string, unknown>)[name], name);
});

test("regions are apart, aligned, and never at 0", () => {
  const plan = new RegionPlan();
  const regions = [
    plan.add("parameters", 100),
    plan.add("empty", 0),
    plan.add("cache", 200000, 4096),
    plan.add("scratch", 3, 16),
  ];
  const kernel = plan.create(createKernel);
  let end = 1;
  for (const region of regions) {
    assert.ok(region.offset >= end, region.name);
    end = region.offset + region.size;
    assert.is(regionBytes(kernel, region).length, region.size);
  }
  assert.is(regions[2]!.offset % 4096, 0);
  assert.ok(kernel.memory.length >= end);
});

test("the plan refuses what cannot be", () => {
  const plan = new RegionPlan();
  plan.add("a", 10);
  assert.throws(() => plan.add("a", 10), /twice/);
  assert.throws(() => plan.add("b", -1), /size/);
  assert.throws(() => plan.add("b", 1.5), /size/);
  assert.throws(() => plan.add("b", 10, 24), /alignment/);
  assert.throws(() => plan.add("b", MAX_KERNEL_BYTES), /does not fit/);
  plan.create(createKernel);
  assert.throws(() => plan.add("b", 1), /after/);
  assert.throws(() => plan.create(createKernel), /twice/);
});

test.run();
