/** The driver suite on files of this machine. */
import { rmSync } from "node:fs";
import { driverSuite, type DriverSuiteOptions } from "../../conformance/driver-suite.js";
import { makeNodeWorld, type NodeWorld } from "../../support/node-world.js";

for (const mode of ["sync", "async"] as const) {
  const onFiles: Pick<DriverSuiteOptions, "world" | "dispose" | "path" | "remove"> = {
    world: () => makeNodeWorld(mode),
    dispose: (world) => (world as NodeWorld).dispose(),
    path: (world, name) => (world as NodeWorld).path(name),
    remove: (_world, path) => rmSync(path),
  };
  driverSuite(`raw in files, ${mode}`, {
    ...onFiles,
    driver: "raw",
    variants: [{ name: "default", options: {} }],
    backing: false,
    compress: false,
    resize: true,
  });
  driverSuite(`qcow2 in files, ${mode}`, {
    ...onFiles,
    driver: "qcow2",
    variants: [
      { name: "default", options: {} },
      { name: "compat 0.10, 4 KiB clusters", options: { compat: "0.10", cluster_size: 4096 } },
      { name: "extended L2 entries, lazy refcounts", options: { extended_l2: true, lazy_refcounts: true } },
    ],
    backing: true,
    compress: true,
    resize: true,
  });
}
