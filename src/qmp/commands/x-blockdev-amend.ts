/** Changes format options of an image in use, as a job: the keys of encrypted images. */
import { BlockError } from "../../base/error.js";
import type { Op } from "../../block/op.js";
import { bool, enumeration, int64, optional, str, struct, toSafeNumber, union, type UnionType } from "../../qapi/schema.js";
import { command, type Command } from "../command.js";
import { blockdevDriver } from "../schema/blockdev-options.js";

const luksMembers = {
  state: enumeration("QCryptoBlockLUKSKeyslotState", ["active", "inactive"]),
  "new-secret": optional(str()),
  "old-secret": optional(str()),
  keyslot: optional(int64()),
  "iter-time": optional(int64()),
  secret: optional(str()),
} as const;
const amendOptions = union("BlockdevAmendOptions", { driver: blockdevDriver }, "driver", {
  luks: struct("BlockdevAmendOptionsLUKS", luksMembers),
  qcow2: struct("BlockdevAmendOptionsQcow2", {
    encrypt: optional(
      union("QCryptoBlockAmendOptions", { format: enumeration("QCryptoBlockFormat", ["qcow", "luks"]) }, "format", {
        luks: struct("QCryptoBlockAmendOptionsLUKS", luksMembers),
        qcow: struct("QCryptoBlockOptionsQCowAmend", {}),
      }) as unknown as UnionType<Record<string, unknown>>,
    ),
  }),
});

interface Arguments {
  "job-id": string;
  "node-name": string;
  options: Record<string, unknown> & { driver: string; encrypt?: Record<string, unknown> };
  force?: boolean;
}

export const xBlockdevAmend: Command = command({
  name: "x-blockdev-amend",
  since: "5.1",
  summary: "Starts a job that changes format options of an image in use: adds and erases keys of LUKS encryption.",
  arguments: struct("x-blockdev-amend-arg", {
    "job-id": str(),
    "node-name": str(),
    options: amendOptions as unknown as UnionType<Arguments["options"]>,
    force: optional(bool()),
  }),
  returns: null,
  profiles: ["qemu-7.2"],
  // eslint-disable-next-line require-yield
  *run(core, args) {
    const { options, force = false } = args;
    const node = core.nodes.find(args["node-name"]);
    if (node === null)
      throw new BlockError("ERR_NOT_FOUND", `Cannot find device='' nor node-name='${args["node-name"]}'`, {
        qmpClass: "GenericError",
      });
    if (node.driver.name !== options.driver)
      throw new BlockError("ERR_UNSUPPORTED", "x-blockdev-amend doesn't support changing the block driver");
    const { impl } = node;
    const amend = impl.shape === "mapped" ? impl.amend?.bind(impl) : undefined;
    if (amend === undefined || node.driver.amendOptions === undefined)
      throw new BlockError("ERR_UNSUPPORTED", `Driver '${options.driver}' does not support blockdev-amend`);
    const id = core.jobs.idFor(args["job-id"], "");
    const encryption = options.encrypt;
    const isEncrypted = impl.blockInfo?.().encrypted === true;
    const job = core.jobs.create({
      id,
      driver: {
        type: "amend",
        *run(running): Op<void> {
          running.progress = { current: 0, total: 1 };
          try {
            if (options.driver === "qcow2") {
              if (encryption !== undefined) {
                if (!isEncrypted) throw new BlockError("ERR_INVALID_ARGUMENT", "image is not encrypted, can't amend");
                yield* amend(amendValues(encryption, "encrypt."), () => {}, force);
              }
            } else yield* amend(amendValues(options, ""), () => {}, force);
          } finally {
            running.progress.current = 1;
          }
        },
      },
      autoDismiss: false,
      nodes: [node],
    });
    core.jobs.start(job);
  },
});

/** Options of QMP as those of `qemu-img amend`. */
function amendValues(given: Readonly<Record<string, unknown>>, prefix: string): Record<string, unknown> {
  const values: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(given)) {
    if (name === "driver" || name === "format" || value === undefined) continue;
    values[`${prefix}${name}`] = typeof value === "bigint" ? toSafeNumber(value, name) : value;
  }
  return values;
}
