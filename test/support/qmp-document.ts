/** docs/QMP.md, made from the declarations. */
import { COMMANDS } from "../../src/qmp/commands.js";
import { DIVERGENCES } from "../../src/qmp/profile.js";
import { ACTIONS } from "../../src/qmp/actions.js";
import { DECLARED_DRIVERS } from "../../src/qmp/schema/blockdev-options.js";
import { blockdevOptions, blockdevOptions22 } from "../../src/qmp/schema/blockdev-options.js";
import { prealloc } from "../../src/qmp/schema/common.js";
import { EVENTS } from "../../src/qmp/schema/events.js";
import { imageCheck, mapEntry } from "../../src/qmp/schema/results.js";
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
/** Types of the 2.2 schema that are called otherwise now, or that are part of another. */
const TYPE_TODAY: Readonly<Record<string, string>> = {
  BlockJobType: "JobType",
  BlockdevSnapshot: "BlockdevSnapshotSync",
  BlockdevOptionsBase: "BlockdevOptions",
};
export const SEED_TYPES: readonly string[] = [
  "SnapshotInfo",
  "ImageInfoSpecificQCow2",
  "ImageInfoSpecificVmdk",
  "ImageInfoSpecific",
  "ImageInfo",
  "ImageCheck",
  "BlockdevCacheInfo",
  "BlockDeviceInfo",
  "BlockDeviceIoStatus",
  "BlockDeviceMapEntry",
  "BlockDirtyInfo",
  "BlockInfo",
  "BlockDeviceStats",
  "BlockStats",
  "BlockdevOnError",
  "MirrorSyncMode",
  "BlockJobType",
  "BlockJobInfo",
  "NewImageMode",
  "BlockdevSnapshot",
  "DriveBackup",
  "BlockdevDiscardOptions",
  "BlockdevDetectZeroesOptions",
  "BlockdevAioOptions",
  "BlockdevCacheOptions",
  "BlockdevDriver",
  "BlockdevOptionsBase",
  "BlockdevOptionsFile",
  "BlockdevOptionsNull",
  "BlockdevOptionsVVFAT",
  "BlockdevOptionsGenericFormat",
  "BlockdevOptionsGenericCOWFormat",
  "Qcow2OverlapCheckMode",
  "Qcow2OverlapCheckFlags",
  "Qcow2OverlapChecks",
  "BlockdevOptionsQcow2",
  "BlockdevOptionsArchipelago",
  "BlkdebugEvent",
  "BlkdebugInjectErrorOptions",
  "BlkdebugSetStateOptions",
  "BlockdevOptionsBlkdebug",
  "BlockdevOptionsBlkverify",
  "QuorumReadPattern",
  "BlockdevOptionsQuorum",
  "BlockdevOptions",
  "BlockdevRef",
  "BlockErrorAction",
  "PreallocMode",
].map((name) => TYPE_TODAY[name] ?? name);

/** Where things are tested: the name of a command, event or driver as a test writes it, and the first file that does. */
export interface Tested {
  /** Of `"name"` in quotes. */
  fileOf(name: string): string | null;
}

type Named = Extract<AnySchema, { name: string }>;
const hasName = (type: AnySchema): type is Named => "name" in type && type.kind !== "int";

/** Every type with a name that the declarations lead to, and the first command or event that leads there. */
export function namedTypes(): Map<string, { type: Named; by: string }> {
  const found = new Map<string, { type: Named; by: string }>();
  const visit = (member: Member, by: string): void => {
    const type = resolve(member);
    if (type.kind === "array") return visit(type.element, by);
    if (!hasName(type) || found.has(type.name)) return;
    found.set(type.name, { type, by });
    if (type.kind === "struct") for (const each of Object.values(type.members)) visit(each, by);
    if (type.kind === "alternate") for (const each of Object.values(type.branches)) visit(each, by);
    if (type.kind !== "union") return;
    for (const each of Object.values(type.base)) visit(each, by);
    for (const each of Object.values(type.variants)) visit(each, by);
  };
  for (const { name, arguments: given, arguments22, returns } of COMMANDS)
    for (const type of [given, arguments22, returns]) if (type !== null && type !== undefined) visit(type, name);
  for (const { name, data } of EVENTS) if (data !== null) visit(data, name);
  for (const type of [imageCheck, mapEntry, prealloc]) visit(type, "query-named-block-nodes");
  return found;
}

/** Options of a driver, by name. */
export function driverOptions(name: string): Members {
  const union = [blockdevOptions, blockdevOptions22].find((each) => each.kind === "union" && Object.hasOwn(each.variants, name));
  return union?.kind === "union" ? union.variants[name]!.members : {};
}

function typeName(member: Member): string {
  const type: AnySchema = resolve(member);
  if (type.kind === "array") return `[${typeName(type.element)}]`;
  return "name" in type ? type.name : type.kind;
}
const list = (members: Members): string =>
  Object.entries(members)
    .map(([name, member]) => `\`${name}${member.kind === "optional" ? "?" : ""}\`: ${typeName(member)}`)
    .join(", ");

/** What a type is made of, in a line. */
function contents(type: AnySchema | null): string {
  if (type === null) return "";
  switch (type.kind) {
    case "enum":
      return type.values.map((value) => `\`${value}\``).join(", ");
    case "struct":
      return list(type.members);
    case "union": {
      const variants = Object.entries(type.variants).map(([value, { name }]) => `${value} → ${name}`);
      return `${list(type.base)}; by \`${type.discriminator}\`: ${variants.join(", ")}`;
    }
    case "alternate":
      return Object.entries(type.branches)
        .map(([name, branch]) => `${name}: ${typeName(branch)}`)
        .join(", or ");
    default:
      return type.kind;
  }
}
const argumentsOf = (type: AnySchema | null): string => (type?.kind === "union" ? list(type.base) : contents(type));

export function qmpDocument(tested: Tested, drivers: ReadonlyMap<string, Driver>): string {
  const where = (name: string): string => tested.fileOf(name) ?? "**no test**";
  const cell = (text: string): string => text.replaceAll("|", "\\|");
  const table = (title: string, header: string, rows: readonly (readonly string[])[]): string[] => [
    `## ${title}`,
    "",
    `| ${header} |`,
    `|${"---|".repeat(header.split(" | ").length)}`,
    ...rows.map((row) => `| ${row.map(cell).join(" | ")} |`),
    "",
  ];
  const only = (profiles: readonly string[] | undefined): string =>
    profiles === undefined ? "" : ` (${profiles.join(", ")} only)`;
  const byName = <T extends { name: string }>(all: readonly T[]): T[] => [...all].sort((a, b) => (a.name < b.name ? -1 : 1));
  const types = [...namedTypes().values()].map(({ type, by }) => ({ name: type.name, type, by }));
  const lines = [
    "# QMP",
    "",
    "Made from the declarations in `src/qmp` by `test/unit/qmp/document.test.ts` (`UPDATE_DOCS=1` writes it). The test that is named",
    "is one of those that use the thing; scenarios of `test/interop` run against QEMU 7.2 too.",
    "",
    ...table(
      "Commands",
      "command | since | arguments | what it does | test",
      byName(COMMANDS).map((each) => [
        `\`${each.name}\``,
        each.since,
        argumentsOf(each.arguments),
        each.summary + only(each.profiles),
        where(each.name),
      ]),
    ),
    ...table(
      "Actions of `transaction`",
      "action | data | test",
      ACTIONS.map(({ type, data }) => [`\`${type}\``, list(data.members), where(type)]),
    ),
    ...table(
      "Events",
      "event | since | data | when | test",
      EVENTS.map((each) => [`\`${each.name}\``, each.since, contents(each.data), each.summary, where(each.name)]),
    ),
    ...table(
      "Drivers of `blockdev-add`",
      "driver | options | in Node.js | test",
      [...new Set([...DECLARED_DRIVERS, ...SEED_DRIVERS])]
        .sort()
        .map((name) => [
          `\`${name}\``,
          list(driverOptions(name)),
          drivers.has(name) ? "yes" : "no",
          drivers.has(name) ? where(name) : "",
        ]),
    ),
    "Every driver also has those of `BlockdevOptions`. `archipelago`, `host_floppy` and `blkreplay` are understood and say why they",
    "cannot be opened. Descriptors cannot be received over a monitor (`add-fd`, `getfd`): no JavaScript runtime can.",
    "",
    ...table(
      "Types",
      "type | kind | made of | test of what uses it",
      byName(types).map(({ name, type, by }) => [`\`${name}\``, type.kind, contents(type), where(by)]),
    ),
    ...table(
      "Dialects",
      "where | qemu-2.2 | qemu-7.2",
      DIVERGENCES.map((each) => [each.where, each["qemu-2.2"], each["qemu-7.2"]]),
    ),
  ];
  return `${lines.join("\n").trimEnd()}\n`;
}
