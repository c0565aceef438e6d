/** How QEMU's tools print numbers, sizes, rates and times. Pure text, no locale. */

/** printf rounds exact ties to even, JavaScript away from zero; sizes in binary units are full of ties ("192.5 KiB"). */
function breakTie(rounded: string, exact: string): string {
  // `exact` has at least one more digit than `rounded`, the same number before the point, and no rounding of its own.
  const kept = exact.slice(0, rounded.length).replace(/\.$/, "");
  const rest = exact.slice(kept.length).replace(".", "");
  const lastDigit = kept.charCodeAt(kept.length - 1) - 48;
  return /^50*$/.test(rest) && lastDigit % 2 === 0 ? kept : rounded;
}

const trimZeros = (text: string): string => (text.includes(".") ? text.replace(/\.?0*$/, "") : text);

/** C's `%.<precision>g`. */
export function formatG(value: number, precision: number): string {
  if (Number.isNaN(value)) return "nan";
  if (!Number.isFinite(value)) return value < 0 ? "-inf" : "inf";
  if (value === 0) return Object.is(value, -0) ? "-0" : "0";
  const count = Math.max(1, precision);
  const [exact = "", exactExponent = ""] = value.toExponential(100).split("e");
  // oxlint-disable-next-line prefer-const -- one of the two changes
  let [digits = "", exponentText = ""] = value.toExponential(count - 1).split("e");
  // A carry to the next power of ten is no tie worth breaking: 9.5 rounds to the even 10 either way.
  if (exponentText === exactExponent) digits = breakTie(digits, exact);
  const exponent = Number(exponentText);
  if (exponent < -4 || exponent >= count) {
    return `${trimZeros(digits)}e${exponent < 0 ? "-" : "+"}${String(Math.abs(exponent)).padStart(2, "0")}`;
  }
  const sign = value < 0 ? "-" : "";
  const figures = digits.replace(/[-.]/g, "");
  if (exponent < 0) return `${sign}${trimZeros(`0.${"0".repeat(-exponent - 1)}${figures}`)}`;
  return `${sign}${trimZeros(`${figures.slice(0, exponent + 1)}.${figures.slice(exponent + 1)}`)}`;
}

const BINARY_PREFIXES = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"] as const;

/**
 * A byte count as `qemu-img info` prints it: three digits, the unit chosen so that the number stays below 1000
 * ("1 GiB", "0.977 MiB", "512 B").
 */
export function formatSize(bytes: number | bigint): string {
  const value = Number(bytes);
  let unit = 0;
  while (unit < BINARY_PREFIXES.length - 1 && value >= 1000 * 2 ** (10 * unit)) unit++;
  return `${formatG(value / 2 ** (10 * unit), 3)} ${BINARY_PREFIXES[unit]}B`;
}

/** A byte count or byte rate as qemu-io prints it: "64 KiB", "1.500 MiB", "512 bytes". */
export function formatIoSize(value: number): string {
  let unit = 0;
  while (unit < BINARY_PREFIXES.length - 1 && value >= 2 ** (10 * (unit + 1))) unit++;
  const text = unit === 0 ? fixed(value, 6) : fixed(value / 2 ** (10 * unit), 3);
  const zeros = text.indexOf(".000");
  return `${zeros < 0 ? text : text.slice(0, zeros)} ${unit === 0 ? "bytes" : `${BINARY_PREFIXES[unit]}B`}`;
}

/** `%.<digits>f`, also for values where toFixed would turn to exponents, infinities and NaN. */
export function fixed(value: number, digits: number): string {
  if (Number.isNaN(value)) return "nan";
  if (!Number.isFinite(value)) return value < 0 ? "-inf" : "inf";
  if (Math.abs(value) < 1e21) {
    const rounded = value.toFixed(digits);
    const exact = value.toFixed(100);
    return rounded.indexOf(".") === exact.indexOf(".") || digits === 0 ? breakTie(rounded, exact) : rounded;
  }
  return `${BigInt(value)}${digits > 0 ? `.${"0".repeat(digits)}` : ""}`;
}

const pad2 = (value: number): string => String(value).padStart(2, "0");

/** Elapsed time as qemu-io prints it: "00.02 sec" below a second, else (or if `terse`) "0:01:02.34". */
export function formatIoTime(seconds: number, terse = false): string {
  const whole = Math.floor(seconds);
  const frac = seconds - whole;
  const last = fixed((whole % 60) + frac, 2).padStart(5, "0");
  if (!terse && whole === 0) return `${last} sec`;
  return `${Math.floor(whole / 3600)}:${pad2(Math.floor(whole / 60) % 60)}:${last}`;
}

export interface IoReport {
  /** "read", "wrote", "discard", … */
  operation: string;
  offset: number;
  requested: number;
  done: number;
  operations: number;
  seconds: number;
  /** qemu-io's `-C`: one comma-separated line. */
  terse?: boolean;
}

/** qemu-io's report after a request: two lines, or one with `terse`; without the newline at the end. */
export function formatIoReport(report: IoReport): string {
  const { operation, offset, requested, done, operations, seconds } = report;
  if (report.terse === true) {
    const rate = (value: number): string => fixed(value / seconds, 3);
    return `${done},${operations},${formatIoTime(seconds, true)},${rate(done)},${rate(operations)}`;
  }
  return (
    `${operation} ${done}/${requested} bytes at offset ${offset}\n` +
    `${formatIoSize(done)}, ${operations} ops; ${formatIoTime(seconds)} ` +
    `(${formatIoSize(done / seconds)}/sec and ${fixed(operations / seconds, 4)} ops/sec)`
  );
}

/** "2026-11-21 06:09:57" in local time, or in UTC if asked for. `seconds` since 1970. */
export function formatDate(seconds: number, utc = false): string {
  const date = new Date(seconds * 1000);
  if (Number.isNaN(date.getTime())) return "";
  const at = utc
    ? [
        date.getUTCFullYear(),
        date.getUTCMonth(),
        date.getUTCDate(),
        date.getUTCHours(),
        date.getUTCMinutes(),
        date.getUTCSeconds(),
      ]
    : [date.getFullYear(), date.getMonth(), date.getDate(), date.getHours(), date.getMinutes(), date.getSeconds()];
  const [year, month, day, hour, minute, second] = at as [number, number, number, number, number, number];
  return `${year}-${pad2(month + 1)}-${pad2(day)} ${pad2(hour)}:${pad2(minute)}:${pad2(second)}`;
}

/** A guest clock, "00:01:02.345" (hours may exceed two digits). */
export function formatClock(nanoseconds: number | bigint): string {
  const total = BigInt(nanoseconds) / 1000000n;
  const milliseconds = Number(total % 1000n);
  const seconds = Number(total / 1000n);
  return `${pad2(Math.floor(seconds / 3600))}:${pad2(Math.floor(seconds / 60) % 60)}:${pad2(seconds % 60)}.${String(milliseconds).padStart(3, "0")}`;
}

export interface SnapshotRow {
  id: string;
  name: string;
  vmStateSize: number;
  dateSeconds: number;
  vmClockNanoseconds: number | bigint;
  /** Instruction count; null if the snapshot has none. */
  icount: number | bigint | null;
}

const row = (id: string, tag: string, size: string, date: string, clock: string, icount: string): string =>
  `${id.padEnd(9)} ${tag.padEnd(16)} ${size.padStart(8)}${date.padStart(20)}${clock.padStart(13)}${icount.padStart(11)}`;

/** The table of `qemu-img snapshot -l` and `info`: a heading and a line per snapshot. */
export function formatSnapshotTable(snapshots: readonly SnapshotRow[], utc = false): string[] {
  return [
    row("ID", "TAG", "VM SIZE", "DATE", "VM CLOCK", "ICOUNT"),
    ...snapshots.map((s) =>
      row(
        s.id,
        s.name,
        formatSize(s.vmStateSize),
        formatDate(s.dateSeconds, utc),
        formatClock(s.vmClockNanoseconds),
        s.icount === null ? "" : String(s.icount),
      ),
    ),
  ];
}
