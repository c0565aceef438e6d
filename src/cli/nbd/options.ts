/** The options of qemu-nbd. */
import type { OptionSpec } from "../options.js";

export const NBD_OPTIONS: readonly OptionSpec[] = [
  { name: "help", short: "h", long: "help" },
  { name: "version", short: "V", long: "version" },
  { name: "bind", short: "b", long: "bind", argument: "IFACE" },
  { name: "port", short: "p", long: "port", argument: "PORT" },
  { name: "socket", short: "k", long: "socket", argument: "PATH" },
  { name: "offset", short: "o", long: "offset", argument: "OFFSET" },
  { name: "read-only", short: "r", long: "read-only" },
  { name: "snapshot", short: "s", long: "snapshot" },
  { name: "load-snapshot", short: "l", long: "load-snapshot", argument: "SNAPSHOT" },
  { name: "nocache", short: "n", long: "nocache" },
  { name: "cache", long: "cache", argument: "MODE" },
  { name: "aio", long: "aio", argument: "MODE" },
  { name: "discard", long: "discard", argument: "MODE" },
  { name: "detect-zeroes", long: "detect-zeroes", argument: "MODE" },
  { name: "connect", short: "c", long: "connect", argument: "DEV" },
  { name: "disconnect", short: "d", long: "disconnect" },
  { name: "shared", short: "e", long: "shared", argument: "NUM" },
  { name: "format", short: "f", long: "format", argument: "FORMAT" },
  { name: "persistent", short: "t", long: "persistent" },
  { name: "verbose", short: "v", long: "verbose" },
  { name: "export-name", short: "x", long: "export-name", argument: "NAME" },
  { name: "description", short: "D", long: "description", argument: "TEXT" },
  { name: "bitmap", short: "B", long: "bitmap", argument: "NAME", repeat: true },
  { name: "allocation-depth", short: "A", long: "allocation-depth" },
  { name: "list", short: "L", long: "list" },
  { name: "fork", long: "fork" },
  { name: "pid-file", long: "pid-file", argument: "PATH" },
  { name: "tls-creds", long: "tls-creds", argument: "ID" },
  { name: "tls-hostname", long: "tls-hostname", argument: "HOST" },
  { name: "tls-authz", long: "tls-authz", argument: "ID" },
  { name: "image-opts", long: "image-opts" },
  { name: "object", long: "object", argument: "TYPE,ID,…", repeat: true },
  { name: "trace", short: "T", long: "trace", argument: "…", hidden: true },
  { name: "selinux-label", long: "selinux-label", argument: "LABEL", hidden: true },
];

export function nbdHelp(program: string): string {
  const rows = NBD_OPTIONS.filter((option) => option.hidden !== true).map((option) => {
    const short = option.short === undefined ? "    " : `-${option.short}, `;
    return `  ${short}--${option.long}${option.argument === undefined ? "" : `=${option.argument}`}`;
  });
  return `Usage: ${program} [OPTIONS] FILE\n  or:  ${program} -L [OPTIONS]\nQEMU Disk Network Block Device Server\n\n${rows.join("\n")}\n`;
}
