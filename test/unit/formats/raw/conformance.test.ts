import { raw } from "../../../../src/formats/raw/raw.js";
import { driverSuite } from "../../../conformance/driver-suite.js";
import { makeWorld, MODES } from "../../../support/world.js";

for (const mode of MODES) {
  for (const plain of [false, true]) {
    driverSuite(`raw, ${mode}${plain ? ", storage without holes" : ""}`, {
      driver: "raw",
      world: () => makeWorld({ mode, plain, drivers: [raw], seed: 20 }),
      variants: [{ name: "default", options: {} }],
      backing: false,
      compress: false,
      resize: true,
    });
  }
}
