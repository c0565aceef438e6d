/** The contract of all writable formats, kept by vpc. */
import { raw } from "../../../../src/formats/raw/raw.js";
import { vpc } from "../../../../src/formats/vpc/vpc.js";
import { driverSuite } from "../../../conformance/driver-suite.js";
import { makeWorld, MODES } from "../../../support/world.js";

import { shapeFor } from "../../../../src/formats/vpc/geometry.js";

for (const mode of MODES) {
  for (const force of [true, false]) {
    driverSuite(`vpc (${mode}, ${force ? "any size" : "sizes by geometry"})`, {
      driver: "vpc",
      world: () => makeWorld({ mode, drivers: [raw, vpc], seed: 3 }),
      variants: [
        { name: "dynamic", options: { force_size: force } },
        { name: "fixed", options: { subformat: "fixed", force_size: force }, probedAs: "raw" },
      ],
      backing: false,
      compress: false,
      resize: false,
      ...(force ? {} : { roundSize: (size: number) => shapeFor(Math.ceil(size / 512) * 512, false).totalSectors * 512 }),
    });
  }
}
