/** The sequence codes of zstd (RFC 8878, 3.1.1.3.2): baselines, extra bits and the predefined distributions. */
import { buildFseTable, newFseTable, type FseTable } from "./fse.js";

export const LITERAL_EXTRA: Uint8Array = /* @__PURE__ */ Uint8Array.of(
  0,
  0,
  0,
  0,
  0,
  0,
  0,
  0,
  0,
  0,
  0,
  0,
  0,
  0,
  0,
  0,
  1,
  1,
  1,
  1,
  2,
  2,
  3,
  3,
  4,
  6,
  7,
  8,
  9,
  10,
  11,
  12,
  13,
  14,
  15,
  16,
);
export const MATCH_EXTRA: Uint8Array = /* @__PURE__ */ Uint8Array.of(
  0,
  0,
  0,
  0,
  0,
  0,
  0,
  0,
  0,
  0,
  0,
  0,
  0,
  0,
  0,
  0,
  0,
  0,
  0,
  0,
  0,
  0,
  0,
  0,
  0,
  0,
  0,
  0,
  0,
  0,
  0,
  0,
  1,
  1,
  1,
  1,
  2,
  2,
  3,
  3,
  4,
  4,
  5,
  7,
  8,
  9,
  10,
  11,
  12,
  13,
  14,
  15,
  16,
);

/** Each code begins where the one before it, with all its extra bits, ends. */
function baselines(extra: Uint8Array, first: number): Uint32Array {
  const base = new Uint32Array(extra.length);
  let value = first;
  for (let i = 0; i < extra.length; i++) {
    base[i] = value;
    value += 1 << extra[i]!;
  }
  return base;
}
export const LITERAL_BASE: Uint32Array = /* @__PURE__ */ baselines(LITERAL_EXTRA, 0);
export const MATCH_BASE: Uint32Array = /* @__PURE__ */ baselines(MATCH_EXTRA, 3);

function predefined(log: number, probabilities: readonly number[]): FseTable {
  const table = newFseTable(log);
  buildFseTable(table, probabilities, probabilities.length, log);
  return table;
}

export const DEFAULT_LITERALS: FseTable = /* @__PURE__ */ predefined(
  6,
  [4, 3, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 3, 2, 1, 1, 1, 1, 1, -1, -1, -1, -1],
);
export const DEFAULT_OFFSETS: FseTable = /* @__PURE__ */ predefined(
  5,
  [1, 1, 1, 1, 1, 1, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1],
);
export const DEFAULT_MATCHES: FseTable = /* @__PURE__ */ predefined(
  6,
  [
    1, 4, 3, 2, 2, 2, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
    1, 1, 1, 1, -1, -1, -1, -1, -1, -1, -1,
  ],
);
