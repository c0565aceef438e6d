/**
 * File descriptors: those that the process has inherited (`--add-fd`), in sets. Over the monitor's socket none can come, as no
 * runtime we run on can receive them (node:net has no SCM_RIGHTS): to that the answer is QEMU's to a client that sends none.
 */
import { BlockError } from "../../base/error.js";
import { array, int64, optional, str, struct } from "../../qapi/schema.js";
import { command, type Command } from "../command.js";

const fdsetFd = struct("FdsetFdInfo", { fd: int64(), opaque: optional(str()) });

const none = (): BlockError =>
  new BlockError("ERR_UNSUPPORTED", "No file descriptor supplied via SCM_RIGHTS", {
    hint: "Descriptors cannot be received here: name the file, or have the descriptor inherited (--add-fd)",
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
  summary: "Removes a descriptor from a set, or all of them; it is closed when nobody uses it any more.",
  arguments: struct("remove-fd-arg", { "fdset-id": int64(), fd: optional(int64()) }),
  returns: null,
  // eslint-disable-next-line require-yield
  *run(core, args) {
    if (
      core.environment.descriptors?.remove(Number(args["fdset-id"]), args.fd === undefined ? undefined : Number(args.fd)) === true
    )
      return;
    const name = `fdset-id:${args["fdset-id"]}${args.fd === undefined ? "" : `, fd:${args.fd}`}`;
    throw new BlockError("ERR_NOT_FOUND", `File descriptor named '${name}' not found`, { qmpClass: "GenericError" });
  },
});

export const queryFdsets: Command = command({
  name: "query-fdsets",
  since: "1.2",
  summary: "All sets of descriptors.",
  arguments: null,
  returns: array(struct("FdsetInfo", { "fdset-id": int64(), fds: array(fdsetFd) })),
  // eslint-disable-next-line require-yield
  *run(core) {
    const sets = core.environment.descriptors?.list() ?? [];
    return sets.map(({ id, members }) => ({
      "fdset-id": id,
      fds: members.map(({ fd, opaque }) => ({ fd, ...(opaque === undefined ? {} : { opaque }) })),
    }));
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
