/** The NBD server and its exports in the first spelling: by device. */
import { bool, enumeration, optional, str, struct, uint32, type AnySchema } from "../../qapi/schema.js";
import { command, type Command } from "../command.js";
import { serverTls } from "../../nbd/tls.js";
import { listenAddress } from "../listen-address.js";

const legacy = struct("SocketAddressLegacyInput", {
  type: enumeration("SocketAddressLegacyKind", ["inet", "unix", "vsock", "fd"]),
  data: struct("SocketAddressLegacyData", {
    host: optional(str()),
    port: optional(str()),
    path: optional(str()),
    numeric: optional(bool()),
    ipv4: optional(bool()),
    ipv6: optional(bool()),
  }),
});

export const nbdServerStart: Command = command({
  name: "nbd-server-start",
  since: "1.3",
  summary: "Starts the NBD server of this program, on a TCP or Unix socket.",
  arguments: struct("nbd-server-start-arg", {
    addr: legacy as AnySchema,
    "tls-creds": optional(str()),
    "tls-authz": optional(str()),
    "max-connections": optional(uint32()),
  }),
  returns: null,
  *run(core, args) {
    const { type, data } = args.addr as { type: string; data: Record<string, unknown> };
    const address = listenAddress({ type, ...data });
    const creds = args["tls-creds"];
    const find = (id: string): unknown => core.environment.findObject?.(id);
    const startTls = creds === undefined ? undefined : serverTls(find, creds, args["tls-authz"]);
    yield* core.exports.start(address, args["max-connections"] ?? 100, startTls);
  },
});

export const nbdServerAdd: Command = command({
  name: "nbd-server-add",
  since: "1.3",
  summary: "Exports a device through the NBD server.",
  arguments: struct("nbd-server-add-arg", {
    device: str(),
    name: optional(str()),
    description: optional(str()),
    writable: optional(bool()),
    bitmap: optional(str()),
  }),
  returns: null,
  *run(core, args) {
    const node = core.any(args.device);
    const name = args.name ?? args.device;
    const drive = core.devices.get(args.device)?.backend;
    yield* core.exports.add({
      id: name,
      nodeName: node.nodeName,
      name,
      description: args.description ?? "",
      // As QEMU does, a read-only node is exported read-only without a word.
      writable: (args.writable ?? false) && !node.staysReadOnly,
      bitmaps: args.bitmap === undefined ? [] : [args.bitmap],
      allocationDepth: false,
      ...(drive === undefined ? {} : { drive }),
    });
  },
});

export const nbdServerRemove: Command = command({
  name: "nbd-server-remove",
  since: "2.12",
  summary: "Takes an export away; `hard` disconnects its clients.",
  arguments: struct("nbd-server-remove-arg", {
    name: str(),
    mode: optional(enumeration("BlockExportRemoveMode", ["safe", "hard"])),
  }),
  returns: null,
  profiles: ["qemu-7.2"],
  *run(core, args) {
    yield* core.exports.remove(args.name, args.mode === "hard");
  },
});

export const nbdServerStop: Command = command({
  name: "nbd-server-stop",
  since: "1.3",
  summary: "Ends the NBD server and all its exports.",
  arguments: null,
  returns: null,
  *run(core) {
    yield* core.exports.stop();
  },
});
