/** The contract of all writable formats, kept by qed. */
import { qed } from "../../../../src/formats/qed/qed.js";
import { raw } from "../../../../src/formats/raw/raw.js";
import { driverSuite, type DriverVariant } from "../../../conformance/driver-suite.js";
import { makeWorld, MODES } from "../../../support/world.js";

const variants: readonly DriverVariant[] = [
  { name: "default", options: {} },
  { name: "4 KiB clusters", options: { cluster_size: 4096, table_size: 2 } },
  { name: "large clusters", options: { cluster_size: 1 << 20, table_size: 16 } },
];

for (const mode of MODES) {
  driverSuite(`qed (${mode})`, {
    driver: "qed",
    world: () => makeWorld({ mode, drivers: [raw, qed], seed: 5 }),
    variants,
    backing: true,
    compress: false,
    // Grows only: qed.test.ts.
    resize: false,
  });
}
