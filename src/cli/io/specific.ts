/** Format-specific information as indented text: "-" in names becomes a blank, list elements are numbered. */
export function specificLines(data: Readonly<Record<string, unknown>>, depth = 1): string[] {
  const lines: string[] = [];
  for (const [name, value] of Object.entries(data)) if (value !== undefined) addValue(lines, name.replaceAll("-", " "), value, depth, ":");
  return lines;
}

function addValue(lines: string[], label: string, value: unknown, depth: number, mark: string): void {
  const start = `${"    ".repeat(depth)}${label}${mark}`;
  if (Array.isArray(value)) {
    lines.push(`${start}\n`);
    value.forEach((element, index) => addValue(lines, `[${index}]`, element, depth + 1, ":"));
  } else if (typeof value === "object" && value !== null) {
    lines.push(`${start}\n`, ...specificLines(value as Record<string, unknown>, depth + 1));
  } else {
    lines.push(`${start} ${String(value)}\n`);
  }
}
