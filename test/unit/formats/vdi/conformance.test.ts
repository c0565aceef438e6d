/** The contract of all writable formats, kept by vdi. */
import { raw } from "../../../../src/formats/raw/raw.js";
import { vdi } from "../../../../src/formats/vdi/vdi.js";
import { driverSuite } from "../../../conformance/driver-suite.js";
import { makeWorld, MODES } from "../../../support/world.js";

for (const mode of MODES) {
  driverSuite(`vdi (${mode})`, {
    driver: "vdi",
    world: () => makeWorld({ mode, drivers: [raw, vdi], seed: 3 }),
    variants: [
      { name: "dynamic", options: {} },
      { name: "static", options: { static: true } },
    ],
    backing: false,
    compress: false,
    resize: false,
  });
}
