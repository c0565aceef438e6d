/** The contract of all writable formats, kept by parallels. */
import { raw } from "../../../../src/formats/raw/raw.js";
import { parallels } from "../../../../src/formats/parallels/parallels.js";
import { driverSuite } from "../../../conformance/driver-suite.js";
import { makeWorld, MODES } from "../../../support/world.js";

for (const mode of MODES) {
  driverSuite(`parallels (${mode})`, {
    driver: "parallels",
    world: () => makeWorld({ mode, drivers: [raw, parallels], seed: 3 }),
    variants: [
      { name: "1 MiB clusters", options: {} },
      { name: "64 KiB clusters", options: { cluster_size: 65536 } },
      { name: "512-byte clusters", options: { cluster_size: 512 } },
    ],
    backing: false,
    compress: false,
    resize: false,
  });
}
