import { qcow2 } from "../../../../src/formats/qcow2/qcow2.js";
import { raw } from "../../../../src/formats/raw/raw.js";
import { driverSuite, type DriverVariant } from "../../../conformance/driver-suite.js";
import { makeWorld, MODES } from "../../../support/world.js";

const variants: readonly DriverVariant[] = [
  { name: "default", options: {} },
  { name: "compat 0.10", options: { compat: "0.10" } },
  { name: "512-byte clusters", options: { cluster_size: 512 } },
  { name: "2 MiB clusters", options: { cluster_size: 2097152 } },
  { name: "1-bit refcounts", options: { refcount_bits: 1 } },
  { name: "64-bit refcounts, 4 KiB clusters", options: { refcount_bits: 64, cluster_size: 4096 } },
  { name: "extended L2 entries", options: { extended_l2: true } },
  { name: "lazy refcounts", options: { lazy_refcounts: true } },
  { name: "preallocated metadata", options: { preallocation: "metadata" }, backing: false },
  { name: "external data file", options: { data_file: "image.data" }, backing: false, compress: false },
  { name: "raw external data file", options: { data_file: "image.data", data_file_raw: true }, backing: false, compress: false },
];

for (const mode of MODES) {
  driverSuite(`qcow2, ${mode}`, {
    driver: "qcow2",
    world: () => makeWorld({ mode, drivers: [raw, qcow2], seed: 21 }),
    // The options are the same in every mode: sync runs them all, the slower ones a choice.
    variants:
      mode === "sync"
        ? variants
        : variants.filter(({ name }) => ["default", "512-byte clusters", "extended L2 entries", "compat 0.10"].includes(name)),
    backing: true,
    compress: true,
    resize: true,
  });
}
