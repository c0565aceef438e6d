/** The contract of all writable formats, kept by encrypted qcow2 images. */
import { luks } from "../../../../src/formats/luks/luks.js";
import { qcow2 } from "../../../../src/formats/qcow2/qcow2.js";
import { raw } from "../../../../src/formats/raw/raw.js";
import { driverSuite, type DriverVariant } from "../../../conformance/driver-suite.js";
import { makeWorld, MODES, type Mode, type World } from "../../../support/world.js";

/** A world whose images are opened with their secret. */
function world(mode: Mode): World {
  const base = makeWorld({ mode, drivers: [raw, qcow2, luks], seed: 7, secrets: { sec0: "open sesame" } });
  return {
    ...base,
    open: (driver, filename, flags, options = {}) =>
      base.open(driver, filename, flags, { ...options, ...(driver === "raw" ? {} : { encrypt: { "key-secret": "sec0" } }) }),
  };
}
const legacy: DriverVariant = { name: "aes", options: { "encrypt.format": "aes", "encrypt.key-secret": "sec0" } };
const volume: DriverVariant = {
  name: "luks, small clusters",
  options: { "encrypt.format": "luks", "encrypt.key-secret": "sec0", "encrypt.iter-time": 1, cluster_size: 4096 },
};

for (const mode of MODES) {
  driverSuite(`encrypted qcow2 (${mode})`, {
    driver: "qcow2",
    world: () => world(mode),
    // Making a LUKS volume takes its time: once is enough.
    variants: mode === "seeded" ? [legacy, volume] : [legacy],
    backing: false,
    compress: false,
    resize: true,
  });
}
