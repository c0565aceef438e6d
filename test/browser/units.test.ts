/** Unit tests that need nothing of Node run in a browser's worker too. */
import { browserSuite } from "./harness.js";

for (const name of ["kernel/bitmap", "kernel/bytes", "kernel/l2", "kernel/refcount", "storage/memory"]) {
  await browserSuite(`chromium: ${name}`, `test/unit/${name}.test.ts`);
}
