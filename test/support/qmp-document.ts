/** docs/QMP.md, made from the declarations. */
import { COMMANDS } from "../../src/qmp/commands.js";
import { DIVERGENCES } from "../../src/qmp/profile.js";
import { ACTIONS } from "../../src/qmp/actions.js";
import { DECLARED_DRIVERS } from "../../src/qmp/schema/blockdev-options.js";
import { EVENTS } from "../../src/qmp/schema/events.js";
import { resolve, type AnySchema, type Member, type Members } from "../../src/qapi/schema.js";
import type { Driver } from "../../src/block/driver.js";

/** What the schema of QEMU 2.2 and the proposals before it have. */
export const SEED_COMMANDS: readonly string[] = [
  "query-block",
  "query-blockstats",
  "query-block-jobs",
  "query-named-block-nodes",
  "block_passwd",
  "block_resize",
  "blockdev-snapshot-sync",
  "change-backing-file",
  "block-commit",
  "drive-backup",
  "drive-mirror",
  "block_set_io_throttle",
  "block-stream",
  "block_stream",
  "block-job-set-speed",
  "block-job-cancel",
  "block-job-pause",
  "block-job-resume",
  "block-job-complete",
  "blockdev-add",
  "transaction",
  "nbd-server-start",
  "nbd-server-add",
  "nbd-server-stop",
];
export const SEED_EVENTS: readonly string[] = [
  "BLOCK_IMAGE_CORRUPTED",
  "BLOCK_IO_ERROR",
  "BLOCK_JOB_COMPLETED",
  "BLOCK_JOB_CANCELLED",
  "BLOCK_JOB_ERROR",
  "BLOCK_JOB_READY",
];
export const SEED_DRIVERS: readonly string[] = [
  "archipelago",
  "file",
  "host_device",
  "host_cdrom",
  "host_floppy",
  "http",
  "https",
  "ftp",
  "ftps",
  "tftp",
  "vvfat",
  "blkdebug",
  "blkverify",
  "bochs",
  "cloop",
  "cow",
  "dmg",
  "parallels",
  "qcow",
  "qcow2",
  "qed",
  "raw",
  "vdi",
  "vhdx",
  "vmdk",
  "vpc",
  "quorum",
  "null-aio",
  "null-co",
];
/** Where a command that no scenario names is tested. */
const UNIT = "test/unit/qmp/block-core.test.ts";

function typeName(member: Member): string {
  const type: AnySchema = resolve(member);
  if (type.kind === "array") return `[${typeName(type.element)}]`;
  return type.kind === "enum" ||
    type.kind === "struct" ||
    type.kind === "union" ||
    type.kind === "alternate" ||
    type.kind === "int"
    ? type.name
    : type.kind;
}
function membersOf(schema: AnySchema | null): string {
  if (schema === null) return "";
  const members: Members = schema.kind === "struct" ? schema.members : schema.kind === "union" ? schema.base : {};
  return Object.entries(members)
    .map(([name, member]) => `\`${name}${member.kind === "optional" ? "?" : ""}\`: ${typeName(member)}`)
    .join(", ");
}

/** @param tested commands that differential scenarios use */
export function qmpDocument(tested: ReadonlySet<string>, drivers: ReadonlyMap<string, Driver>): string {
  const lines = [
    "# QMP",
    "",
    "Made from the declarations in `src/qmp` by `test/unit/qmp/document.test.ts` (`UPDATE_DOCS=1` writes it).",
    "",
    "## Commands",
    "",
    "| command | since | arguments | what it does | test |",
    "|---|---|---|---|---|",
  ];
  const where = (name: string): string => (tested.has(name) ? "test/interop/qmp-differential.test.ts" : UNIT);
  const cell = (text: string): string => text.replaceAll("|", "\\|");
  for (const each of [...COMMANDS].sort((a, b) => (a.name < b.name ? -1 : 1))) {
    lines.push(
      `| \`${each.name}\` | ${each.since} | ${cell(membersOf(each.arguments))} | ${cell(each.summary)}${each.profiles === undefined ? "" : ` (${each.profiles.join(", ")} only)`} | ${where(each.name)} |`,
    );
  }
  for (const name of SEED_COMMANDS)
    if (!COMMANDS.some((each) => each.name === name)) lines.push(`| \`${name}\` | | | **Not there yet**: CommandNotFound. | |`);
  lines.push("", "## Actions of `transaction`", "", ...ACTIONS.map(({ type }) => `- \`${type}\``));
  lines.push("", "## Events", "", "| event | since | data | when |", "|---|---|---|---|");
  for (const each of EVENTS)
    lines.push(`| \`${each.name}\` | ${each.since} | ${cell(membersOf(each.data))} | ${cell(each.summary)} |`);
  for (const name of SEED_EVENTS)
    if (!EVENTS.some((each) => each.name === name)) lines.push(`| \`${name}\` | | | **Not sent yet.** |`);
  lines.push("", "## Drivers of `blockdev-add`", "", "| driver | options declared | driver present |", "|---|---|---|");
  for (const name of [...new Set([...DECLARED_DRIVERS, ...SEED_DRIVERS])].sort())
    lines.push(
      `| \`${name}\` | ${DECLARED_DRIVERS.includes(name) ? "yes" : "no"} | ${drivers.has(name) ? "yes" : 'no: "Unknown driver"'} |`,
    );
  lines.push("", "## Dialects", "", "| where | qemu-2.2 | qemu-7.2 |", "|---|---|---|");
  for (const each of DIVERGENCES) lines.push(`| ${cell(each.where)} | ${cell(each["qemu-2.2"])} | ${cell(each["qemu-7.2"])} |`);
  return `${lines.join("\n")}\n`;
}
