/** The contract of all writable formats, kept by qcow. */
import { qcow } from "../../../../src/formats/qcow/qcow.js";
import { raw } from "../../../../src/formats/raw/raw.js";
import { driverSuite, type DriverVariant } from "../../../conformance/driver-suite.js";
import { makeWorld, MODES } from "../../../support/world.js";

const variants: readonly DriverVariant[] = [{ name: "default", options: {} }];

for (const mode of MODES) {
  driverSuite(`qcow (${mode})`, {
    driver: "qcow",
    world: () => makeWorld({ mode, drivers: [raw, qcow], seed: 5 }),
    variants,
    backing: true,
    compress: true,
    resize: false,
  });
}
