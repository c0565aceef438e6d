/** `ImageInfo` as text, in the layout of qemu-img info. */
import { formatSize, formatSnapshotTable } from "../base/format.js";
import type { ImageInfo, SnapshotInfo } from "../block/types.js";
import { qdictOrder } from "../qapi/json-writer.js";

export function infoLines(info: ImageInfo): string[] {
  const lines = [
    `image: ${info.filename}`,
    `file format: ${info.format}`,
    `virtual size: ${formatSize(info["virtual-size"])} (${info["virtual-size"]} bytes)`,
    `disk size: ${info["actual-size"] === undefined ? "unavailable" : formatSize(info["actual-size"])}`,
  ];
  if (info.encrypted === true) lines.push("encrypted: yes");
  if (info["cluster-size"] !== undefined) lines.push(`cluster_size: ${info["cluster-size"]}`);
  if (info["dirty-flag"] === true) lines.push("cleanly shut down: no");
  const backing = info["backing-filename"];
  if (backing !== undefined) {
    const full = info["full-backing-filename"];
    const where = full === undefined ? " (cannot determine actual path)" : full === backing ? "" : ` (actual path: ${full})`;
    lines.push(`backing file: ${backing}${where}`);
    if (info["backing-filename-format"] !== undefined) lines.push(`backing file format: ${info["backing-filename-format"]}`);
  }
  if (info.snapshots !== undefined) lines.push("Snapshot list:", ...snapshotLines(info.snapshots));
  const specific = info["format-specific"];
  if (specific !== undefined && Object.keys(specific.data).length > 0) {
    lines.push("Format specific information:");
    dumpMembers(specific.data, 1, lines);
  }
  return lines;
}

export function snapshotLines(snapshots: readonly SnapshotInfo[]): string[] {
  return formatSnapshotTable(
    snapshots.map((snapshot) => ({
      id: snapshot.id,
      name: snapshot.name,
      vmStateSize: snapshot["vm-state-size"],
      dateSeconds: snapshot["date-sec"],
      vmClockNanoseconds: BigInt(snapshot["vm-clock-sec"]) * 1_000_000_000n + BigInt(snapshot["vm-clock-nsec"]),
      icount: snapshot.icount ?? null,
    })),
  );
}

const pad = (level: number): string => "    ".repeat(level);

function dumpMembers(object: Readonly<Record<string, unknown>>, level: number, lines: string[]): void {
  for (const key of qdictOrder(Object.keys(object))) {
    const value = object[key];
    if (value === undefined) continue;
    dumpEntry(`${pad(level)}${key.replaceAll("-", " ")}:`, value, level, lines);
  }
}

function dumpEntry(head: string, value: unknown, level: number, lines: string[]): void {
  if (Array.isArray(value)) {
    lines.push(head);
    value.forEach((item, index) => dumpEntry(`${pad(level + 1)}[${index}]:`, item, level + 1, lines));
  } else if (typeof value === "object" && value !== null) {
    lines.push(head);
    dumpMembers(value as Record<string, unknown>, level + 1, lines);
  } else {
    lines.push(`${head} ${String(value)}`);
  }
}
