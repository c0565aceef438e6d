/** The machine that guest devices are in: stop, go on, how it is. */
import { parallel } from "../../block/op.js";
import { flush } from "../../block/io.js";
import { bool, enumeration, optional, str, struct } from "../../qapi/schema.js";
import { command, type Command } from "../command.js";

const RUN_STATES = [
  "debug",
  "inmigrate",
  "internal-error",
  "io-error",
  "paused",
  "postmigrate",
  "prelaunch",
  "finish-migrate",
  "restore-vm",
  "running",
  "save-vm",
  "shutdown",
  "suspended",
  "watchdog",
  "guest-panicked",
  "colo",
] as const;

export const stop: Command = command({
  name: "stop",
  since: "0.14",
  summary: "Stops the guests: their requests wait until `cont`; what they have written is flushed.",
  arguments: null,
  returns: null,
  *run(core) {
    if (!core.machine.isRunning) return;
    core.machine.stop("paused");
    const written = [...core.devices.values()].filter(({ backend }) => backend.root?.flags.write === true);
    for (const { backend } of written) yield* backend.idle();
    yield* parallel(written.map(({ backend }) => flush(backend.node)));
  },
});

export const cont: Command = command({
  name: "cont",
  since: "0.14",
  summary: "Lets the guests go on; requests that an I/O error stopped are made again, and io-status is `ok`.",
  arguments: null,
  returns: null,
  // eslint-disable-next-line require-yield
  *run(core) {
    for (const device of core.devices.values()) device.resetIoStatus();
    core.machine.resume();
  },
});

export const queryStatus: Command = command({
  name: "query-status",
  since: "0.14",
  summary: "Whether the guests run, and why not.",
  arguments: null,
  returns: struct("StatusInfo", { running: bool(), singlestep: bool(), status: enumeration("RunState", RUN_STATES) }),
  // eslint-disable-next-line require-yield
  *run(core) {
    return { running: core.machine.isRunning, singlestep: false, status: core.machine.state };
  },
});

export const queryName: Command = command({
  name: "query-name",
  since: "0.14",
  summary: "What the machine is called, if it has a name.",
  arguments: null,
  returns: struct("NameInfo", { name: optional(str()) }),
  // eslint-disable-next-line require-yield
  *run(core) {
    return { name: core.identity.name };
  },
});

export const queryUuid: Command = command({
  name: "query-uuid",
  since: "0.14",
  summary: "The machine's UUID: all zeros when it has none.",
  arguments: null,
  returns: struct("UuidInfo", { UUID: str() }),
  // eslint-disable-next-line require-yield
  *run(core) {
    return { UUID: core.identity.uuid ?? "00000000-0000-0000-0000-000000000000" };
  },
});
