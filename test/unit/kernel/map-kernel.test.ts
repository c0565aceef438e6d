/** The reader's kernel says what the whole one says, in both flavours. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { createKernel, setKernelModule } from "../../../src/kernel/kernel.js";
import { L2_VERSION3 } from "../../../src/kernel/layout.js";
import { createMapKernel, mapKernelStatus } from "../../../src/kernel/map-kernel.js";
import { readerKernelModule } from "../../../src/kernel/module-reader.inline.js";
import { chooseSeed, random } from "../../support/random.js";

const seed = chooseSeed();
console.log(`map-kernel.test seed ${seed}`);
test.after.each(() => setKernelModule(null));

test("it is WebAssembly where that may run, and the twin where it may not", () => {
  const chance = random(seed);
  setKernelModule(null);
  const whole = createKernel(1 << 18);
  const twin = createMapKernel(1 << 18);
  assert.is(twin.flavour, "js");
  assert.is(mapKernelStatus().flavour, "js");
  const given = createGiven();
  for (let round = 0; round < 200; round++) {
    const extended = chance.chance(0.5);
    const table = new Uint8Array(512 * 8);
    const view = new DataView(table.buffer);
    let host = 65536 * chance.int(1 << 20);
    for (let at = 0; at < table.length; at += extended ? 16 : 8) {
      if (chance.chance(0.2)) host = chance.pick([0, 1, 65536 * chance.int(1 << 30), chance.int(2 ** 32)]);
      else host += 65536;
      view.setUint32(at, (Math.floor(host / 2 ** 32) | chance.pick([0, 0, 0x80000000, 0x40000000])) >>> 0);
      view.setUint32(at + 4, host >>> 0);
      if (extended) for (const half of [8, 12]) view.setUint32(at + half, chance.pick([0, 0xffffffff, chance.int(2 ** 32)]));
    }
    const results = [whole, twin, given].map((kernel) => {
      kernel.memory.fill(0, 0, 1 << 17);
      kernel.memory.set(table, 4096);
      const count = extended
        ? kernel.scanL2Extended(4096, 0, 256 * 32, 16, L2_VERSION3, 65536, 500)
        : kernel.scanL2(4096, 0, 512, 16, L2_VERSION3, 65536, 500);
      return { count, bytes: kernel.memory.slice(65536, 65536 + 32 * 500) };
    });
    assert.ok(results[0]!.count > 0);
    for (const other of results.slice(1)) {
      assert.is(other.count, results[0]!.count);
      assert.equal(other.bytes, results[0]!.bytes);
    }
  }
});

/** With the module that the bundle carries. */
function createGiven(): ReturnType<typeof createMapKernel> {
  setKernelModule(readerKernelModule);
  const kernel = createMapKernel(1 << 18);
  assert.is(kernel.flavour, "wasm");
  return kernel;
}

test.run();
