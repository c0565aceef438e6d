/**
 * File descriptors passed over the monitor's socket. No runtime we run on can receive them (node:net has no SCM_RIGHTS), so these
 * answer what QEMU answers to a client that sends none.
 */
import { BlockError } from "../../base/error.js";
import { array, int64, optional, str, struct } from "../../qapi/schema.js";
import { command, type Command } from "../command.js";

const none = (): BlockError =>
  new BlockError("ERR_UNSUPPORTED", "No file descriptor supplied via SCM_RIGHTS", {
    hint: "Descriptors cannot be received here: name the file instead",
  });

export const addFd: Command = command({
  name: "add-fd",
  since: "1.2",
  summary: "Would add a descriptor that came over the socket to a set; none can come, so it fails.",
  arguments: struct("add-fd-arg", { "fdset-id": optional(int64()), opaque: optional(str()) }),
  returns: struct("AddfdInfo", { "fdset-id": int64(), fd: int64() }),
  // eslint-disable-next-line require-yield
  *run() {
    throw none();
  },
});

export const removeFd: Command = command({
  name: "remove-fd",
  since: "1.2",
  summary: "Removes a descriptor from a set; there are none.",
  arguments: struct("remove-fd-arg", { "fdset-id": int64(), fd: optional(int64()) }),
  returns: null,
  // eslint-disable-next-line require-yield
  *run(_core, args) {
    const name = `fdset-id:${args["fdset-id"]}${args.fd === undefined ? "" : `, fd:${args.fd}`}`;
    throw new BlockError("ERR_NOT_FOUND", `File descriptor named '${name}' not found`, { qmpClass: "GenericError" });
  },
});

export const queryFdsets: Command = command({
  name: "query-fdsets",
  since: "1.2",
  summary: "All sets of descriptors; there are none.",
  arguments: null,
  returns: array(struct("FdsetInfo", { "fdset-id": int64() })),
  // eslint-disable-next-line require-yield
  *run() {
    return [];
  },
});

export const getfd: Command = command({
  name: "getfd",
  since: "0.14",
  summary: "Would give a descriptor that came over the socket a name; none can come, so it fails.",
  arguments: struct("getfd-arg", { fdname: str() }),
  returns: null,
  // eslint-disable-next-line require-yield
  *run() {
    throw none();
  },
});

export const closefd: Command = command({
  name: "closefd",
  since: "0.14",
  summary: "Closes a named descriptor; there are none.",
  arguments: struct("closefd-arg", { fdname: str() }),
  returns: null,
  // eslint-disable-next-line require-yield
  *run(_core, { fdname }) {
    throw new BlockError("ERR_NOT_FOUND", `File descriptor named '${fdname}' not found`, { qmpClass: "GenericError" });
  },
});
