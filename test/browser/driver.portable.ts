/** The driver suite for raw and qcow2 on OPFS files. */
import { qcow2 } from "../../src/formats/qcow2/qcow2.js";
import { raw } from "../../src/formats/raw/raw.js";
import { driverSuite, type DriverSuiteOptions } from "../conformance/driver-suite.js";
import { opfsWorld, type OpfsWorld } from "./opfs-world.js";

for (const mode of ["sync", "async"] as const) {
  const onOpfs: Pick<DriverSuiteOptions, "world" | "dispose" | "remove"> = {
    world: () => opfsWorld(mode, [raw, qcow2]),
    dispose: (world) => (world as OpfsWorld).dispose(),
    remove: (world, name) => (world as OpfsWorld).forget(name),
  };
  driverSuite(`raw on OPFS, ${mode}`, {
    ...onOpfs,
    driver: "raw",
    variants: [{ name: "default", options: {} }],
    backing: false,
    compress: false,
    resize: true,
  });
  driverSuite(`qcow2 on OPFS, ${mode}`, {
    ...onOpfs,
    driver: "qcow2",
    variants: [
      { name: "default", options: {} },
      { name: "extended L2 entries", options: { extended_l2: true } },
      ...(mode === "sync"
        ? [
            { name: "compat 0.10, 4 KiB clusters", options: { compat: "0.10", cluster_size: 4096 } },
            { name: "lazy refcounts", options: { lazy_refcounts: true } },
            { name: "external data file", options: { data_file: "image.data" }, backing: false, compress: false },
          ]
        : []),
    ],
    backing: true,
    compress: true,
    resize: true,
  });
}
