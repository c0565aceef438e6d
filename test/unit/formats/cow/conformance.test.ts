/** The contract of all writable formats, kept by cow. */
import { cow } from "../../../../src/formats/cow/cow.js";
import { raw } from "../../../../src/formats/raw/raw.js";
import { driverSuite } from "../../../conformance/driver-suite.js";
import { makeWorld, MODES } from "../../../support/world.js";

for (const mode of MODES) {
  driverSuite(`cow (${mode})`, {
    driver: "cow",
    world: () => makeWorld({ mode, drivers: [raw, cow], seed: 11 }),
    variants: [{ name: "default", options: {} }],
    backing: true,
    compress: false,
    resize: false,
  });
}
