/** Version 2 has no zero clusters: zeros are clusters given up where there is no backing file, and written where there is one. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { readBytes, write, writeZeroes } from "../../../../src/block/io.js";
import { blockStatus } from "../../../../src/block/status.js";
import { qcow2 } from "../../../../src/formats/qcow2/qcow2.js";
import { checkImage } from "../../../../src/image/check.js";
import { makeWorld, MODES } from "../../../support/world.js";

const MiB = 1 << 20;
const zero = suite("zeros in version 2");

for (const mode of MODES) {
  for (const backed of [false, true]) {
    zero(`${mode}, ${backed ? "over a backing file" : "alone"}`, async () => {
      const w = makeWorld({ mode, drivers: [qcow2], seed: 1 });
      await w.create("qcow2", "base", 4 * MiB, {});
      const base = await w.open("qcow2", "base");
      await w.run(write(base, new Uint8Array(4 * MiB).fill(9), 0));
      await w.close(base);
      await w.create("qcow2", "top", 4 * MiB, {
        compat: "0.10",
        ...(backed ? { backing_file: "base", backing_fmt: "qcow2" } : {}),
      });
      const node = await w.open("qcow2", "top");
      await w.run(write(node, new Uint8Array(MiB).fill(7), MiB));
      await w.run(writeZeroes(node, 0, 2 * MiB, {}));
      await w.run(write(node, Uint8Array.of(1, 2, 3), MiB + 5));
      const bytes = await w.run(readBytes(node, 0, 2 * MiB));
      assert.is(
        bytes.findIndex((byte, at) => byte !== (at >= MiB + 5 && at < MiB + 8 ? at - MiB - 4 : 0)),
        -1,
      );
      assert.is((await w.run(blockStatus(node, 0, MiB))).data, backed, "whether the zeros take space");
      await w.close(node);
      const again = await w.open("qcow2", "top", { check: true });
      const report = await w.run(checkImage(again));
      await w.close(again);
      assert.is((report.corruptions ?? 0) + (report.leaks ?? 0) + report["check-errors"], 0);
    });
  }
}

zero.run();
