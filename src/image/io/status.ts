/** `length` and `info`. */
import { strerror, toBlockError } from "../../base/error.js";
import { formatIoSize } from "../../base/format.js";
import { imageSize } from "../open.js";
import type { Command } from "./command.js";
import { specificLines } from "./specific.js";

export const lengthCommand: Command = {
  name: "length",
  alias: "l",
  min: 0,
  max: 0,
  summary: "gets the length of the current file",
  async run(session) {
    try {
      session.print(`${formatIoSize(imageSize(session.node!))}\n`);
    } catch (error) {
      session.print(`getlength: ${strerror(toBlockError(error).errno)}\n`);
      return "failed";
    }
    return "done";
  },
};

export const infoCommand: Command = {
  name: "info",
  alias: "i",
  min: 0,
  max: 0,
  summary: "prints information about the current file",
  async run(session) {
    const node = session.node!;
    session.print(`format name: ${node.driver.name}\n`);
    // The real program has a name for the format and one for the protocol.
    if (node.driver.category === "protocol" || node.driver.parseFilename !== undefined)
      session.print(`format name: ${node.driver.name}\n`);
    if (node.impl.blockInfo === undefined && node.impl.shape !== "storage") return "failed";
    const info = node.impl.blockInfo?.() ?? {};
    session.print(`cluster size: ${formatIoSize(info.clusterSize ?? 0)}\n`);
    session.print(`vm state offset: ${formatIoSize(info.vmStateOffset ?? 0)}\n`);
    if (node.impl.specificInfo === undefined) return "done";
    try {
      const specific = await session.request(node.impl.specificInfo());
      if (specific !== undefined) session.print(`Format specific information:\n${specificLines(specific.data).join("")}`);
    } catch (error) {
      session.report(toBlockError(error).message);
      return "failed";
    }
    return "done";
  },
};
