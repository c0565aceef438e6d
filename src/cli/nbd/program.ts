/** qemu-nbd: serves an image over NBD until the last client has gone, or lists what a server exports. */
import { BlockError } from "../../base/error.js";
import type { SocketAddress } from "../../nbd/node-socket.js";
import { detach, mustDetach } from "../detach.js";
import { parseOptions, UsageError, type ParsedOptions } from "../options.js";
import type { Output } from "../output.js";
import { listServer } from "./list.js";
import { NBD_OPTIONS, nbdHelp } from "./options.js";
import { serve } from "./serve.js";

export interface NbdProgram {
  program: string;
  version: string;
  output: Output;
  signal: AbortSignal;
}

const DEFAULT_PORT = 10809;

export async function nbdMain(argv: string[], program: NbdProgram): Promise<number> {
  const { output } = program;
  try {
    const parsed = parseOptions([program.program, ...argv], NBD_OPTIONS, { wording: "glibc" });
    if (parsed.action === "help") {
      output.print(nbdHelp(program.program));
      return 0;
    }
    if (parsed.action === "version") {
      output.print(`${program.program} ${program.version}\n`);
      return 0;
    }
    checkTogether(parsed);
    if (parsed.has("list")) return await listServer(addressOf(parsed, "localhost"), parsed, output);
    if (parsed.has("fork") && mustDetach()) return await detach();
    return await serve(addressOf(parsed, "0.0.0.0"), parsed, program);
  } catch (error) {
    if (!(error instanceof UsageError)) return output.failure(error);
    output.error(error.message, `Try \`${program.program} --help' for more information.`);
    return 1;
  }
}

const fail = (message: string): BlockError => new BlockError("ERR_INVALID_ARGUMENT", message);
const PER_DEVICE = ["export-name", "description", "offset", "allocation-depth", "bitmap", "load-snapshot", "snapshot", "fork"];
const AIO_MODES = ["threads", "native", "io_uring"];

/** Options that exclude or need each other. */
function checkTogether(parsed: ParsedOptions): void {
  const isList = parsed.has("list");
  for (const name of ["connect", "disconnect"]) {
    if (!parsed.has(name)) continue;
    if (parsed.has("tls-creds")) throw fail("TLS is not supported with a host device");
    throw new BlockError(
      "ERR_UNSUPPORTED",
      `--${name}: a kernel NBD device needs an ioctl that Node.js cannot make: serve a socket and use nbd-client`,
    );
  }
  if (isList && parsed.operands.length > 0) throw fail("List mode is incompatible with a file name");
  if (isList && PER_DEVICE.some((name) => parsed.has(name))) throw fail("List mode is incompatible with per-device settings");
  if (!isList && parsed.operands.length !== 1) throw new UsageError("Invalid number of arguments");
  for (const name of ["tls-authz", "tls-hostname"]) {
    if (parsed.has(name) && !parsed.has("tls-creds")) throw fail(`--${name} is not permitted without --tls-creds`);
  }
  if (isList && parsed.has("tls-authz")) throw fail("TLS authorization is incompatible with export list");
  if (!isList && parsed.has("tls-hostname")) throw fail("TLS hostname is only supported with export list");
  const aio = parsed.get("aio");
  if (aio !== undefined && !AIO_MODES.includes(aio)) throw fail(`Invalid aio mode '${aio}'`);
  if (parsed.has("cache") && parsed.has("nocache")) throw fail("-n and --cache can only be specified once");
}

function addressOf(parsed: ParsedOptions, host: string): SocketAddress {
  const path = parsed.get("socket");
  if (path !== undefined) return { path };
  const port = Number(parsed.get("port") ?? DEFAULT_PORT);
  if (!Number.isInteger(port) || port < 0 || port > 65535) throw fail(`Invalid port '${parsed.get("port")}'`);
  return { host: parsed.get("bind") ?? host, port };
}
