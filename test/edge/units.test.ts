/** Unit tests that need nothing of Node run in the other runtimes too: same code, other engines, another WebAssembly delivery. */
import { edgeSuite } from "./harness.js";

for (const file of [
  "test/unit/kernel/bitmap.test.ts",
  "test/unit/kernel/bytes.test.ts",
  "test/unit/kernel/l2.test.ts",
  "test/unit/kernel/refcount.test.ts",
  "test/unit/storage/memory.test.ts",
]) {
  await edgeSuite(file, ["workerd", "deno", "bun"]);
}
