/** The contract of all writable formats, kept by vhdx. */
import { raw } from "../../../../src/formats/raw/raw.js";
import { vhdx } from "../../../../src/formats/vhdx/vhdx.js";
import { driverSuite } from "../../../conformance/driver-suite.js";
import { makeWorld, MODES } from "../../../support/world.js";

for (const mode of MODES) {
  driverSuite(`vhdx (${mode})`, {
    driver: "vhdx",
    world: () => makeWorld({ mode, drivers: [raw, vhdx], seed: 3 }),
    variants: [
      { name: "1 MiB blocks", options: { block_size: 1048576 } },
      { name: "8 MiB blocks, without zero states", options: { block_state_zero: false } },
      { name: "fixed", options: { subformat: "fixed", block_size: 1048576 } },
      { name: "4 MiB log", options: { block_size: 1048576, log_size: 4194304 } },
    ],
    backing: false,
    compress: false,
    resize: false,
  });
}
