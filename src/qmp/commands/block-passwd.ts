/** The password of an encrypted image that was opened without one (2.2; today's images take secrets when they are opened). */
import { BlockError } from "../../base/error.js";
import { encodeText } from "../../base/bytes.js";
import { drained } from "../../block/graph.js";
import { remake } from "../../block/reopen-nodes.js";
import { optional, str, struct } from "../../qapi/schema.js";
import { command, type Command } from "../command.js";

export const blockPasswd: Command = command({
  name: "block_passwd",
  since: "0.14",
  summary:
    "Gives the password of an encrypted image that was opened without. The old AES encryption cannot tell a wrong one from the right one: what is read then is noise, and what is written is lost.",
  arguments: struct("block_passwd-arg", { device: optional(str()), "node-name": optional(str()), password: str() }),
  returns: null,
  profiles: ["qemu-2.2"],
  *run(core, args) {
    const node = core.lookup(args.device, args["node-name"]);
    const shown = args.device ?? args["node-name"] ?? "";
    if (node.impl.blockInfo?.().encrypted !== true)
      throw new BlockError("ERR_INVALID_ARGUMENT", `Device '${shown}' is not encrypted`, { qmpClass: "DeviceNotEncrypted" });
    // An image that has its key keeps it.
    if (!node.flags.noIO) return;
    const id = `#password-${node.nodeName}`;
    core.passwords.set(id, encodeText(args.password));
    try {
      yield* drained(node, function* () {
        const { options, flags } = node;
        yield* node.impl.close();
        const unlocked = { ...flags, noIO: false };
        try {
          node.flags = unlocked;
          yield* remake(node, { ...options, encrypt: { format: formatOf(options), "key-secret": id } }, unlocked);
        } catch (error) {
          node.flags = flags;
          yield* remake(node, options, flags);
          throw new BlockError("ERR_ENCRYPTED", "Password incorrect", { cause: error });
        }
      });
    } finally {
      core.passwords.delete(id);
    }
  },
});

const formatOf = (options: Readonly<Record<string, unknown>>): unknown =>
  (options["encrypt"] as Record<string, unknown> | undefined)?.["format"];
