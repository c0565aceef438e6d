/** The NBD server. */
import { BlockError } from "../../../base/error.js";
import { device, flag, given, maybe, text, word, type HmpCommand } from "../command.js";

export const nbdServerStart: HmpCommand = {
  name: "nbd_server_start",
  parameters: [flag("a", "all"), flag("w", "writable"), word("uri")],
  usage: "[-a] [-w] host:port",
  summary: "serve block devices on the given host and port",
  *run(core, _out, args) {
    const writable = args["writable"] === true;
    if (writable && args["all"] !== true) throw new BlockError("ERR_INVALID_ARGUMENT", "-w only valid together with -a");
    yield* core.perform("nbd-server-start", { addr: addressOf(text(args, "uri")) });
    if (args["all"] !== true) return;
    try {
      for (const { name, backend } of [...core.devices.values()]) {
        if (name === "" || backend.root === null) continue;
        yield* core.perform("nbd-server-add", { device: name, writable });
      }
    } catch (error) {
      yield* core.perform("nbd-server-stop");
      throw error;
    }
  },
};

/** `unix:PATH`, or `HOST:PORT` with `[…]` around numeric addresses of IPv6. */
function addressOf(uri: string): { type: string; data: Record<string, string> } {
  if (uri.startsWith("unix:")) {
    if (uri === "unix:") throw new BlockError("ERR_INVALID_ARGUMENT", "invalid Unix socket address");
    return { type: "unix", data: { path: uri.slice(5) } };
  }
  const found = /^(?:tcp:)?(\[[0-9a-fA-F:.%]*\]|[^:]*):(\d+)$/.exec(uri);
  if (found === null) throw new BlockError("ERR_INVALID_ARGUMENT", `address resolution failed for ${uri}`);
  return { type: "inet", data: { host: found[1]!.replace(/^\[|\]$/g, ""), port: found[2]! } };
}

export const nbdServerAdd: HmpCommand = {
  name: "nbd_server_add",
  parameters: [flag("w", "writable"), device, maybe(word("name"))],
  usage: "nbd_server_add [-w] device [name]",
  summary: "export a block device via NBD",
  *run(core, _out, args) {
    yield* core.perform(
      "nbd-server-add",
      given({ device: text(args, "device"), name: args["name"], writable: args["writable"] === true }),
    );
  },
};

export const nbdServerRemove: HmpCommand = {
  name: "nbd_server_remove",
  parameters: [flag("f", "force"), word("name")],
  usage: "nbd_server_remove [-f] name",
  summary: "remove an export previously exposed via NBD",
  *run(core, _out, args) {
    yield* core.perform("nbd-server-remove", { name: text(args, "name"), mode: args["force"] === true ? "hard" : "safe" });
  },
};

export const nbdServerStop: HmpCommand = {
  name: "nbd_server_stop",
  parameters: [],
  usage: "nbd_server_stop",
  summary: "stop serving block devices using the NBD protocol",
  *run(core) {
    yield* core.perform("nbd-server-stop");
  },
};
