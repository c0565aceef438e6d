/** The block layer as the qemu-io program sees it: files of the host, all codecs, everything an image names may be opened. */
import type { Environment, GateDecision } from "../../block/context.js";
import type { Driver } from "../../block/driver.js";
import { done } from "../../block/op.js";
import { protocolDriver } from "../../block/protocol.js";
import { nodeCodecs } from "../../codec/node-codecs.js";
import { qcow2 } from "../../formats/qcow2/qcow2.js";
import { raw } from "../../formats/raw/raw.js";
import { createFileStorage, openFileStorage, openFileStorageAsync } from "../../storage/node-fs.js";

const file: Driver = protocolDriver({
  name: "file",
  open: { sync: openFileStorage, async: openFileStorageAsync },
  create: { sync: (name) => createFileStorage(name), async: null },
});

export function ioEnvironment(_objects: readonly string[]): Environment {
  return {
    drivers: new Map([qcow2, raw, file].map((driver) => [driver.name, driver])),
    codecs: nodeCodecs,
    gate: () => done<GateDecision>(true),
    secrets: () => done(null),
    now: () => Date.now(),
    memoryBudget: 32 * 1024 * 1024,
    warn: (message) => console.error(message),
  };
}
