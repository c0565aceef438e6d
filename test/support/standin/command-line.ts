/** The emulator's command line: options with one or two dashes, in the order given. */

export interface Given {
  readonly name: string;
  readonly value: string;
}

/** Options that take an argument; those that mean nothing here are read and left. */
const WITH_ARGUMENT: ReadonlySet<string> = new Set([
  "accel",
  "add-fd",
  "audiodev",
  "bios",
  "blockdev",
  "boot",
  "cdrom",
  "chardev",
  "cpu",
  "device",
  "display",
  "drive",
  "fda",
  "fdb",
  "global",
  "hda",
  "hdb",
  "hdc",
  "hdd",
  "incoming",
  "k",
  "L",
  "m",
  "M",
  "machine",
  "mon",
  "monitor",
  "msg",
  "name",
  "net",
  "netdev",
  "nic",
  "object",
  "pidfile",
  "qmp",
  "qmp-pretty",
  "qtest",
  "rtc",
  "run-with",
  "sandbox",
  "serial",
  "smp",
  "trace",
  "uuid",
  "vga",
]);
const WITHOUT: ReadonlySet<string> = new Set([
  "enable-kvm",
  "h",
  "help",
  "no-acpi",
  "no-reboot",
  "no-shutdown",
  "nodefaults",
  "nographic",
  "no-user-config",
  "S",
  "snapshot",
  "version",
]);

/** @throws Error with QEMU's words for options that it does not know */
export function readCommandLine(argv: readonly string[]): Given[] {
  const found: Given[] = [];
  for (let at = 0; at < argv.length; at++) {
    const word = argv[at]!;
    // A name alone is the first disk.
    if (!word.startsWith("-")) {
      found.push({ name: "hda", value: word });
      continue;
    }
    const name = word.replace(/^--?/, "");
    if (WITHOUT.has(name)) found.push({ name, value: "" });
    else if (!WITH_ARGUMENT.has(name)) throw new Error(`${word}: invalid option`);
    else if (argv[at + 1] === undefined) throw new Error(`${word}: requires an argument`);
    else found.push({ name, value: argv[++at]! });
  }
  return found;
}
