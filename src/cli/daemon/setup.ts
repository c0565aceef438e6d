/** What options of the daemon's command line make, through the commands of QMP. */
import { BlockError } from "../../base/error.js";
import { READ_WRITE } from "../../block/flags.js";
import { openNode } from "../../block/open.js";
import { runAsync } from "../../block/op.js";
import { isJsonObject, type JsonObject } from "../../qapi/json.js";
import { parseJsonOrKeyval } from "../../qapi/options.js";
import { rootPath } from "../../qapi/schema.js";
import type { BlockCore } from "../../qmp/block-core.js";
import { findCommand } from "../../qmp/commands.js";
import { readSecrets } from "../secrets.js";

/** A command whose arguments come as `key=value,…` or JSON. */
export async function runKeyval(core: BlockCore, command: string, text: string, impliedKey: string): Promise<void> {
  const { value, mode } = parseJsonOrKeyval(text, impliedKey);
  const schema = findCommand("qemu-7.2", command)!.arguments!;
  const args = schema.validate(value, rootPath(mode)) as JsonObject;
  if (command === "blockdev-add" && core.profile === "qemu-2.2") {
    core.nodes.checkNames(args, (name) => core.devices.has(name));
    core.nodes.owned.add(await runAsync(openNode(core.environment, { options: args, flags: READ_WRITE })));
    return;
  }
  await core.execute(command, args);
}

/** `--nbd-server`. */
export async function startNbd(core: BlockCore, text: string): Promise<void> {
  const { value } = parseJsonOrKeyval(text);
  const addr = value["addr"];
  if (!isJsonObject(addr)) throw new BlockError("ERR_INVALID_ARGUMENT", "Parameter 'addr' is missing");
  const { type, ...data } = addr;
  const most = value["max-connections"];
  const { "tls-creds": creds, "tls-authz": authz } = value;
  await core.execute("nbd-server-start", {
    addr: { type: type ?? "", data },
    ...(most === undefined ? {} : { "max-connections": Number(most) }),
    ...(creds === undefined ? {} : { "tls-creds": creds }),
    ...(authz === undefined ? {} : { "tls-authz": authz }),
  });
}

/** `--object`. */
export function addObject(core: BlockCore, text: string): void {
  const { value, mode } = parseJsonOrKeyval(text, "qom-type");
  const checked = findCommand("qemu-7.2", "object-add")!.arguments!.validate(value, rootPath(mode)) as JsonObject;
  const id = checked["id"] as string;
  if (checked["qom-type"] === "secret") {
    // Wrapped secrets need the others: the command line's reader knows how.
    const known = core.objects
      .all()
      .filter(({ type }) => type === "secret")
      .map(({ id: other, secret }) => `secret,id=${other},format=base64,data=${Buffer.from(secret!).toString("base64")}`);
    const bytes = readSecrets([...known, text]).get(id)!;
    core.objects.add({ "qom-type": "secret", id, format: "base64", data: Buffer.from(bytes).toString("base64") });
  } else core.objects.add(checked);
}
