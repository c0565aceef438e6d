/** A small LZFSE encoder for tests: the matches are given, the entropy coding is the decoder's tables run backwards. */
import { makeTable, type LzfseTable } from "../../../src/codec/lzfse/fse.js";

export interface Step {
  literals: Uint8Array;
  match: number;
  /** 0: the distance before. */
  distance: number;
}

class Writer {
  #bits: number[] = [];
  push(value: number, width: number): void {
    for (let i = 0; i < width; i++) this.#bits.push((value >> i) & 1);
  }
  /** Whole bytes, and how many bits of the last one do not count. */
  done(): { bytes: Uint8Array; unused: number } {
    const bytes = new Uint8Array(Math.ceil(this.#bits.length / 8));
    this.#bits.forEach((bit, i) => (bytes[i >> 3]! |= bit << (i & 7)));
    return { bytes, unused: bytes.length * 8 - this.#bits.length };
  }
}

const L_EXTRA = [...Array<number>(16).fill(0), 2, 3, 5, 8];
const M_EXTRA = [...Array<number>(16).fill(0), 3, 5, 8, 11];
const D_EXTRA = Array.from({ length: 64 }, (_, i) => i >> 2);

function split(value: number, extra: readonly number[]): { symbol: number; rest: number } {
  let base = 0;
  for (let symbol = 0; symbol < extra.length; symbol++) {
    if (value < base + (1 << extra[symbol]!)) return { symbol, rest: value - base };
    base += 1 << extra[symbol]!;
  }
  throw new Error(`${value} can not be coded`);
}

/** Scales counts to a sum of exactly `states`, at least one for every used symbol. */
function frequencies(symbols: readonly number[], alphabet: number, states: number): number[] {
  const count = Array<number>(alphabet).fill(0);
  for (const s of symbols) count[s]!++;
  const total = symbols.length || 1;
  const scaled = count.map((n) => (n === 0 ? 0 : Math.max(1, Math.floor((n * states) / total))));
  for (let excess = scaled.reduce((a, b) => a + b, 0) - states; excess !== 0; excess -= Math.sign(excess)) {
    const at = scaled.indexOf(Math.max(...scaled));
    scaled[at]! -= Math.sign(excess);
  }
  return scaled;
}

/** The state that means `symbol` and leads to `next`, and the bits that choose it. */
function stateBefore(table: LzfseTable, symbol: number, next: number): { state: number; bits: number; width: number } {
  for (let state = 0; state < table.symbol.length; state++) {
    const width = table.bits[state]!;
    const bits = next - table.delta[state]!;
    if (table.symbol[state] === symbol && bits >= 0 && bits < 1 << width) return { state, bits, width };
  }
  throw new Error(`no state for symbol ${symbol}`);
}

function putFrequency(writer: Writer, value: number): void {
  if (value < 2) writer.push(value << 1, 2);
  else if (value < 4) writer.push(1 | ((value - 2) << 2), 3);
  else if (value < 8) writer.push(3 | ((value - 4) << 3), 5);
  else if (value < 24) writer.push(7 | ((value - 8) << 4), 8);
  else writer.push(15 | ((value - 24) << 4), 14);
}

/** One version 2 block. */
export function lzfseBlock(steps: readonly Step[], plainBytes: number): Uint8Array {
  const literals = steps.flatMap((step) => [...step.literals]);
  while (literals.length % 4 !== 0) literals.push(0);
  const l = steps.map((step) => split(step.literals.length, L_EXTRA));
  const m = steps.map((step) => split(step.match, M_EXTRA));
  const d = steps.map((step) => split(step.distance, D_EXTRA));
  const lf = frequencies(
    l.map((x) => x.symbol),
    20,
    64,
  );
  const mf = frequencies(
    m.map((x) => x.symbol),
    20,
    64,
  );
  const df = frequencies(
    d.map((x) => x.symbol),
    64,
    256,
  );
  const uf = frequencies(literals, 256, 1024);
  const lt = makeTable(64, lf),
    mt = makeTable(64, mf),
    dt = makeTable(256, df),
    ut = makeTable(1024, uf);

  // Everything is written from the last symbol to the first, because it is read from the end.
  const literalBits = new Writer();
  const u = [0, 0, 0, 0];
  for (let i = literals.length - 1; i >= 0; i--) {
    const { state, bits, width } = stateBefore(ut, literals[i]!, u[i & 3]!);
    literalBits.push(bits, width);
    u[i & 3] = state;
  }
  const matchBits = new Writer();
  let ls = 0,
    ms = 0,
    ds = 0;
  for (let i = steps.length - 1; i >= 0; i--) {
    const put = (table: LzfseTable, next: number, value: { symbol: number; rest: number }, extra: readonly number[]): number => {
      matchBits.push(value.rest, extra[value.symbol]!);
      const { state, bits, width } = stateBefore(table, value.symbol, next);
      matchBits.push(bits, width);
      return state;
    };
    ds = put(dt, ds, d[i]!, D_EXTRA);
    ms = put(mt, ms, m[i]!, M_EXTRA);
    ls = put(lt, ls, l[i]!, L_EXTRA);
  }
  const tables = new Writer();
  for (const f of [...lf, ...mf, ...df, ...uf]) putFrequency(tables, f);
  const a = literalBits.done(),
    b = matchBits.done(),
    t = tables.done();
  const block = new Uint8Array(32 + t.bytes.length + a.bytes.length + b.bytes.length);
  const view = new DataView(block.buffer);
  block.set([0x62, 0x76, 0x78, 0x32]);
  view.setUint32(4, plainBytes, true);
  const big = (...fields: [number, number][]): bigint =>
    fields.reduce((sum, [value, bit]) => sum | (BigInt(value) << BigInt(bit)), 0n);
  view.setBigUint64(8, big([literals.length, 0], [a.bytes.length, 20], [steps.length, 40], [7 - a.unused, 60]), true);
  view.setBigUint64(16, big([u[0]!, 0], [u[1]!, 10], [u[2]!, 20], [u[3]!, 30], [b.bytes.length, 40], [7 - b.unused, 60]), true);
  view.setBigUint64(24, big([32 + t.bytes.length, 0], [ls, 32], [ms, 42], [ds, 52]), true);
  block.set(t.bytes, 32);
  block.set(a.bytes, 32 + t.bytes.length);
  block.set(b.bytes, 32 + t.bytes.length + a.bytes.length);
  return block;
}

/** Parses `plain` greedily into steps with matches of at least 4 bytes. */
export function parse(plain: Uint8Array): Step[] {
  const steps: Step[] = [];
  const seen = new Map<number, number>();
  let start = 0;
  let before = 0;
  for (let at = 0; at < plain.length;) {
    const key =
      at + 4 <= plain.length ? plain[at]! | (plain[at + 1]! << 8) | (plain[at + 2]! << 16) | (plain[at + 3]! << 24) : NaN;
    const from = seen.get(key);
    seen.set(key, at);
    let match = 0;
    if (from !== undefined && from < at && at - from < 200000)
      while (match < 2000 && at + match < plain.length && plain[from + match] === plain[at + match]) match++;
    if (match < 4 && at - start < 300) {
      at++;
      continue;
    }
    const distance = match < 4 ? before || 1 : at - from!;
    if (match < 4) match = 0;
    steps.push({ literals: plain.subarray(start, at), match, distance: distance === before ? 0 : distance });
    before = distance;
    at += match;
    start = at;
  }
  if (start < plain.length) steps.push({ literals: plain.subarray(start), match: 0, distance: before === 0 ? 1 : 0 });
  return steps;
}
