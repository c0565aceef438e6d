/** The program and its machine. */
import type { JsonObject } from "../../../qapi/json.js";
import { parseKeyval } from "../../../qapi/options.js";
import { rootPath } from "../../../qapi/schema.js";
import { objectAdd as addCommand } from "../../commands/object-add.js";
import { text, word, type HmpCommand } from "../command.js";

export const quit: HmpCommand = {
  name: "quit",
  alias: "q",
  parameters: [],
  usage: "",
  summary: "quit the emulator",
  *run(core) {
    yield* core.perform("quit");
  },
};

export const stop: HmpCommand = {
  name: "stop",
  alias: "s",
  parameters: [],
  usage: "",
  summary: "stop emulation",
  *run(core) {
    yield* core.perform("stop");
  },
};

export const cont: HmpCommand = {
  name: "cont",
  alias: "c",
  parameters: [],
  usage: "",
  summary: "resume emulation",
  *run(core) {
    yield* core.perform("cont");
  },
};

export const objectAdd: HmpCommand = {
  name: "object_add",
  parameters: [{ name: "object", type: "rest" }],
  usage: "[qom-type=]type,id=str[,prop=value][,...]",
  summary: "create QOM object",
  *run(core, _out, args) {
    const given = parseKeyval(text(args, "object"), "qom-type");
    yield* core.perform("object-add", addCommand.arguments!.validate(given, rootPath("keyval")) as JsonObject);
  },
};

export const objectDel: HmpCommand = {
  name: "object_del",
  parameters: [word("id")],
  usage: "id",
  summary: "destroy QOM object",
  *run(core, _out, args) {
    yield* core.perform("object-del", { id: text(args, "id") });
  },
};

export const infoStatus: HmpCommand = {
  name: "status",
  parameters: [],
  usage: "",
  summary: "show the current VM status (running|paused)",
  // eslint-disable-next-line require-yield
  *run({ machine }, out) {
    const why = machine.state === "running" || machine.state === "paused" ? "" : ` (${machine.state})`;
    out.print(`VM status: ${machine.isRunning ? "running" : "paused"}${why}\n`);
  },
};

export const infoName: HmpCommand = {
  name: "name",
  parameters: [],
  usage: "",
  summary: "show the current VM name",
  // eslint-disable-next-line require-yield
  *run({ identity: { name } }, out) {
    if (name !== undefined) out.print(`${name}\n`);
  },
};

export const infoUuid: HmpCommand = {
  name: "uuid",
  parameters: [],
  usage: "",
  summary: "show the current VM UUID",
  *run(core, out) {
    out.print(`${((yield* core.perform("query-uuid")) as { UUID: string }).UUID}\n`);
  },
};

export const infoVersion: HmpCommand = {
  name: "version",
  parameters: [],
  usage: "",
  summary: "show the version of QEMU",
  *run(core, out) {
    const { qemu, package: build } = (yield* core.perform("query-version")) as { qemu: JsonObject; package: string };
    out.print(`${String(qemu["major"])}.${String(qemu["minor"])}.${String(qemu["micro"])}${build}\n`);
  },
};
