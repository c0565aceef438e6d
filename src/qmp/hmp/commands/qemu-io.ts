/** `qemu-io`: one command of qemu-io on a drive or node. */
import { Backend } from "../../../block/backend.js";
import { foreign, type Op } from "../../../block/op.js";
import { runLine } from "../../../image/io/command.js";
import { nodeCommands } from "../../../image/io/commands.js";
import { IoSession } from "../../../image/io/session.js";
import type { BlockCore } from "../../command.js";
import type { Device } from "../../device.js";
import { device, flag, text, word, type HmpArguments, type HmpCommand, type HmpOutput } from "../command.js";
import { reopenFromMonitor } from "../reopen.js";

/** Errors are the monitor's, what commands print goes to the console of the program where there is one. */
class MonitorSession extends IoSession {
  readonly #out: HmpOutput;
  constructor(core: BlockCore, out: HmpOutput) {
    const console_ = core.console;
    super("", {
      write: (printed) => (console_ === null ? out.print(printed) : console_(printed, "stdout")),
      writeError: (printed) => (console_ === null ? out.print(printed) : console_(printed, "stderr")),
      flush: () => {},
    });
    this.#out = out;
  }
  override report(message: string): void {
    this.#out.print(`${message}\n`);
  }
}

/** Requests that `aio_read` and `aio_write` started, to be waited for by a later `aio_flush`. */
const underWay = new WeakMap<BlockCore, Set<Promise<void>>>();

function findDevice(core: BlockCore, args: HmpArguments): Device | undefined {
  const name = text(args, "device");
  return args["qdev"] === true ? core.devices.pick(undefined, name) : core.devices.get(name);
}

export const qemuIo: HmpCommand = {
  name: "qemu-io",
  parameters: [flag("d", "qdev"), device, word("command")],
  usage: '[-d] [device] "[command]"',
  summary: "run a qemu-io command on a block device (-d: [device] is a device ID rather than a drive ID or node name)",
  *run(core, out, args): Op<void> {
    const found = findDevice(core, args);
    const session = new MonitorSession(core, out);
    let requests = underWay.get(core);
    if (requests === undefined) underWay.set(core, (requests = new Set()));
    session.underWay = requests;
    const { readFile } = core;
    if (readFile !== null) session.readFile = (path, limit) => readFile(path).subarray(0, limit);
    session.backend = found?.backend ?? new Backend("", core.node(text(args, "device")));
    session.accounting = found?.accounting ?? null;
    session.writethrough = session.node?.flags.writethrough ?? false;
    session.reopen = (change) => reopenFromMonitor(session, change, found !== undefined && found.frontEnd !== null);
    try {
      yield* foreign("qemu-io", null, () => runLine(session, nodeCommands, text(args, "command")));
    } finally {
      // A handle of our own goes when the requests made through it are done.
      if (found === undefined) yield* release(session);
    }
  },
};

function* release(session: IoSession): Op<void> {
  const { backend } = session;
  if (backend === null) return;
  yield* backend.idle();
  yield* backend.close();
}
