/** Format-specific information as indented text: "-" in names becomes a blank, list elements are numbered, members in QEMU's order. */
import { qdictOrder } from "../../qapi/json-writer.js";

export function specificLines(data: Readonly<Record<string, unknown>>, depth = 1): string[] {
  const lines: string[] = [];
  for (const name of qdictOrder(Object.keys(data))) {
    if (data[name] !== undefined) addValue(lines, name.replaceAll("-", " "), data[name], depth);
  }
  return lines;
}

function addValue(lines: string[], label: string, value: unknown, depth: number): void {
  const start = `${"    ".repeat(depth)}${label}:`;
  if (Array.isArray(value)) {
    lines.push(`${start}\n`);
    value.forEach((element, index) => addValue(lines, `[${index}]`, element, depth + 1));
  } else if (typeof value === "object" && value !== null) {
    lines.push(`${start}\n`, ...specificLines(value as Record<string, unknown>, depth + 1));
  } else {
    lines.push(`${start} ${String(value)}\n`);
  }
}
