/** The contract of all writable formats, kept by vmdk. */
import { raw } from "../../../../src/formats/raw/raw.js";
import { vmdk } from "../../../../src/formats/vmdk/vmdk.js";
import { driverSuite } from "../../../conformance/driver-suite.js";
import { makeWorld, MODES } from "../../../support/world.js";

for (const mode of MODES) {
  driverSuite(`vmdk (${mode})`, {
    driver: "vmdk",
    world: () => makeWorld({ mode, drivers: [raw, vmdk], seed: 3 }),
    variants: [
      { name: "monolithicSparse", options: {} },
      { name: "zeroed grains", options: { zeroed_grain: true } },
      { name: "monolithicFlat", options: { subformat: "monolithicFlat" } },
      { name: "twoGbMaxExtentSparse", options: { subformat: "twoGbMaxExtentSparse" } },
      { name: "twoGbMaxExtentFlat", options: { subformat: "twoGbMaxExtentFlat" } },
    ],
    // Its parents are always vmdk: see parent.test.ts.
    backing: false,
    compress: false,
    resize: false,
  });
}
