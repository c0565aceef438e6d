/** `qemu-nbd -L`: what a server exports. */
import { ExportFlag } from "../../nbd/constants.js";
import { listExports } from "../../nbd/handshake-client.js";
import { connectTo } from "../../nbd/node-driver.js";
import type { SocketAddress } from "../../nbd/node-socket.js";
import { cliEnvironment } from "../environment.js";
import type { ParsedOptions } from "../options.js";
import type { Output } from "../output.js";
import { clientTlsOf } from "./tls.js";

const FLAG_NAMES: readonly [number, string][] = [
  [ExportFlag.readOnly, "readonly"],
  [ExportFlag.flush, "flush"],
  [ExportFlag.fua, "fua"],
  [ExportFlag.rotational, "rotational"],
  [ExportFlag.trim, "trim"],
  [ExportFlag.writeZeroes, "zeroes"],
  [ExportFlag.df, "df"],
  [ExportFlag.multiConn, "multi"],
  [ExportFlag.resize, "resize"],
  [ExportFlag.cache, "cache"],
  [ExportFlag.fastZero, "fast-zero"],
];

export async function listServer(address: SocketAddress, parsed: ParsedOptions, output: Output): Promise<number> {
  const environment = cliEnvironment({ objects: parsed.all("object"), warn: (message) => output.advise(message) });
  const startTls = clientTlsOf(environment, parsed, "host" in address ? address.host : null);
  const found = await listExports(await connectTo(address), startTls);
  output.print(`exports available: ${found.length}\n`);
  for (const item of found) {
    output.print(` export: '${item.name}'\n`);
    if (item.description !== "") output.print(`  description: ${item.description}\n`);
    output.print(`  size:  ${item.size}\n`);
    const names = FLAG_NAMES.filter(([bit]) => (item.flags & bit) !== 0).map(([, name]) => ` ${name}`);
    output.print(`  flags: 0x${item.flags.toString(16)} (${names.join("")} )\n`);
    output.print(`  min block: ${item.minBlock}\n  opt block: ${item.preferredBlock}\n  max block: ${item.maxBlock}\n`);
    if (item.contexts.length > 0)
      output.print(`  available meta contexts: ${item.contexts.length}\n${item.contexts.map((name) => `   ${name}\n`).join("")}`);
  }
  return 0;
}
