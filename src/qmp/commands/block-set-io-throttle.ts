/** Limits on what a drive may do in a second. */
import { BlockError } from "../../base/error.js";
import { noLimits, checkLimits, THROTTLED } from "../../block/throttle.js";
import { int64, optional, str, struct, type Members } from "../../qapi/schema.js";
import { command, type Command } from "../command.js";
import { IO_LIMITS } from "../io-limits.js";

const averages: Members = Object.fromEntries(IO_LIMITS.map(({ name }) => [name, int64()]));
const bursts: Members = Object.fromEntries(IO_LIMITS.map(({ name }) => [`${name}_max`, optional(int64())]));
const lengths: Members = Object.fromEntries(IO_LIMITS.map(({ name }) => [`${name}_max_length`, optional(int64())]));

export const blockSetIoThrottle: Command = command({
  name: "block_set_io_throttle",
  since: "1.1",
  summary:
    "Limits bytes and operations per second of a drive, with bursts; drives of one `group` share its limits. All zero: no limits.",
  arguments: struct("BlockIOThrottle", {
    device: optional(str()),
    id: optional(str()),
    ...averages,
    ...bursts,
    ...lengths,
    iops_size: optional(int64()),
    group: optional(str()),
  }),
  arguments22: struct("block_set_io_throttle-arg", { device: str(), ...averages, ...bursts, iops_size: optional(int64()) }),
  returns: null,
  // eslint-disable-next-line require-yield
  *run(core, args) {
    const { device: name, id, group } = args;
    const { backend } = core.devices.pick(name, id);
    if (backend.root === null) throw new BlockError("ERR_NOT_FOUND", "Device has no medium", { qmpClass: "GenericError" });
    // Negative numbers are far too large: they were unsigned to QEMU all along.
    const given = (member: string): number | undefined => {
      const value = (args as Record<string, unknown>)[member] as number | bigint | undefined;
      return value === undefined ? undefined : value < 0 ? Infinity : Number(value);
    };
    const limits = noLimits();
    for (const { name: limit, what } of IO_LIMITS) {
      const bucket = limits.buckets[what];
      bucket.average = given(limit) ?? 0;
      bucket.max = given(`${limit}_max`) ?? 0;
      bucket.length = given(`${limit}_max_length`) ?? 1;
    }
    limits.iopsSize = given("iops_size") ?? 0;
    checkLimits(limits);
    if (THROTTLED.every((what) => limits.buckets[what].average === 0)) {
      core.throttleGroups.leave(backend);
      return;
    }
    core.throttleGroups.join(backend, group ?? backend.throttle?.group.name ?? name ?? id!).limits = limits;
  },
});
