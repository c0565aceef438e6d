/** Drives: their media, sizes and limits; making and removing them. */
import { BlockError } from "../../../base/error.js";
import { optsToObject, parseOpts } from "../../../qapi/options.js";
import { addDrive } from "../../drive.js";
import { device, file, flag, given, maybe, text, word, type HmpCommand, type HmpParameter } from "../command.js";

export const eject: HmpCommand = {
  name: "eject",
  parameters: [flag("f", "force"), device],
  usage: "[-f] device",
  summary: "eject a removable medium (use -f to force it)",
  *run(core, _out, args) {
    yield* core.perform("eject", given({ device: text(args, "device"), force: args["force"] === true }));
  },
};

export const change: HmpCommand = {
  name: "change",
  parameters: [flag("f", "force"), device, file("target"), maybe(word("arg")), maybe(word("read-only-mode"))],
  usage: "device [-f] filename [format [read-only-mode]]",
  summary: "change a removable medium, optional format",
  *run(core, _out, args) {
    yield* core.perform(
      "blockdev-change-medium",
      given({
        device: text(args, "device"),
        filename: text(args, "target"),
        format: args["arg"],
        force: args["force"],
        "read-only-mode": args["read-only-mode"],
      }),
    );
  },
};

export const blockResize: HmpCommand = {
  name: "block_resize",
  parameters: [device, { name: "size", type: "size" }],
  usage: "device size",
  summary: "resize a block image",
  *run(core, _out, args) {
    yield* core.perform("block_resize", given({ device: text(args, "device"), size: args["size"] }));
  },
};

const LIMITS: readonly string[] = ["bps", "bps_rd", "bps_wr", "iops", "iops_rd", "iops_wr"];

export const blockSetIoThrottle: HmpCommand = {
  name: "block_set_io_throttle",
  parameters: [device, ...LIMITS.map((name): HmpParameter => ({ name, type: "integer" }))],
  usage: `device ${LIMITS.join(" ")}`,
  summary: "change I/O throttle limits for a block drive",
  *run(core, _out, args) {
    const name = text(args, "device");
    const limits = given(Object.fromEntries(LIMITS.map((limit) => [limit, args[limit]])));
    // A guest device is named by its ID where there is no drive of the name.
    yield* core.perform("block_set_io_throttle", { ...(core.devices.has(name) ? { device: name } : { id: name }), ...limits });
  },
};

export const driveAdd: HmpCommand = {
  name: "drive_add",
  parameters: [flag("n", "node"), word("pci_addr"), word("opts")],
  usage:
    "[-n] [[<domain>:]<bus>:]<slot>\n[file=file][,if=type][,bus=n]\n[,unit=m][,media=d][,index=i]\n[,snapshot=on|off][,cache=on|off]\n[,readonly=on|off][,copy-on-read=on|off]",
  summary: "add drive to PCI storage controller",
  *run(core, out, args) {
    const options = optsToObject(parseOpts(text(args, "opts")));
    if (args["node"] === true) {
      if (options["node-name"] === undefined) throw new BlockError("ERR_INVALID_ARGUMENT", "'node-name' needs to be specified");
      yield* core.perform("blockdev-add", options);
      return;
    }
    if (options["if"] !== "none") throw new BlockError("ERR_UNSUPPORTED", "Can't hot-add drive to type 0");
    const { id } = options;
    if (typeof id === "string" && core.devices.has(id)) {
      out.print(`Duplicate ID '${id}' for drive\n`);
      return;
    }
    yield* addDrive(core, options);
    out.print("OK\n");
  },
};

export const driveDel: HmpCommand = {
  name: "drive_del",
  parameters: [device],
  usage: "device",
  summary: "remove host block device",
  *run(core, out, args) {
    const id = text(args, "device");
    const found = core.devices.get(id);
    if (found === undefined) {
      if (core.nodes.find(id) === null) out.print(`Device '${id}' not found\n`);
      else yield* core.perform("blockdev-del", { "node-name": id });
      return;
    }
    const { root } = found.backend;
    if (root !== null) core.checkFree(root);
    if (found.frontEnd === null) {
      yield* core.removeDevice(found);
      return;
    }
    // The guest keeps its device, but nothing is in it any more.
    found.backend.quiesce();
    try {
      yield* found.backend.idle();
      yield* found.backend.close();
    } finally {
      found.backend.resume();
    }
    found.hide();
  },
};
