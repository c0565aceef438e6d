/** The options of qemu-storage-daemon, and `--drive` for devices. */
import type { OptionSpec } from "../options.js";

export const DAEMON_OPTIONS: readonly OptionSpec[] = [
  { name: "help", short: "h", long: "help" },
  { name: "version", short: "V", long: "version" },
  { name: "add-fd", long: "add-fd", argument: "fd=FD,set=SET[,opaque=NAME]", repeat: true },
  { name: "blockdev", long: "blockdev", argument: "[driver=]DRIVER,node-name=N,…", repeat: true },
  { name: "chardev", long: "chardev", argument: "BACKEND,id=ID,…", repeat: true },
  { name: "daemonize", long: "daemonize" },
  { name: "drive", long: "drive", argument: "id=ID,file=FILE,…", repeat: true },
  { name: "export", long: "export", argument: "[type=]nbd,id=ID,node-name=N,…", repeat: true },
  { name: "monitor", long: "monitor", argument: "[chardev=]ID[,mode=control][,pretty=on|off]", repeat: true },
  {
    name: "nbd-server",
    long: "nbd-server",
    argument: "addr.type=unix,addr.path=PATH | addr.type=inet,addr.host=H,addr.port=P",
    repeat: true,
  },
  { name: "object", long: "object", argument: "TYPE,id=ID,…", repeat: true },
  { name: "pidfile", long: "pidfile", argument: "PATH" },
  { name: "profile", long: "profile", argument: "qemu-2.2|qemu-7.2" },
  { name: "trace", short: "T", long: "trace", argument: "…", hidden: true, repeat: true },
];

export function daemonHelp(program: string): string {
  const rows = DAEMON_OPTIONS.filter((option) => option.hidden !== true).map(
    (option) =>
      `  ${option.short === undefined ? "    " : `-${option.short}, `}--${option.long}${option.argument === undefined ? "" : ` ${option.argument}`}`,
  );
  return `Usage: ${program} [options]\nQEMU storage daemon\n\n${rows.join("\n")}\n`;
}
