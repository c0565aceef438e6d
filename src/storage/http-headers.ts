/** The few HTTP header fields a ranged reader needs, parsed strictly (RFC 9110). */

export interface ContentRange {
  /** First and last byte; null for "bytes *\/N" (an unsatisfied range). */
  range: { first: number; last: number } | null;
  /** Size of the whole object; null when the server writes "*". */
  total: number | null;
}

const integer = (text: string): number | null => {
  const value = Number(text);
  return /^\d+$/.test(text) && Number.isSafeInteger(value) ? value : null;
};

/** undefined: the field is malformed. */
export function parseContentRange(text: string): ContentRange | undefined {
  const found = /^\s*bytes\s+(?:(\d+)-(\d+)|\*)\/(\d+|\*)\s*$/i.exec(text);
  if (found === null) return undefined;
  const total = found[3] === "*" ? null : integer(found[3]!);
  if (found[3] !== "*" && total === null) return undefined;
  if (found[1] === undefined) return { range: null, total };
  const first = integer(found[1]);
  const last = integer(found[2]!);
  if (first === null || last === null || last < first || (total !== null && last >= total)) return undefined;
  return { range: { first, last }, total };
}

export function parseContentLength(text: string | null): number | null {
  return text === null ? null : integer(text.trim());
}

/** Milliseconds to wait, from seconds or a date; null when absent or malformed. */
export function parseRetryAfter(text: string | null, now: number): number | null {
  if (text === null) return null;
  const seconds = integer(text.trim());
  if (seconds !== null) return seconds * 1000;
  const date = Date.parse(text);
  return Number.isNaN(date) ? null : Math.max(0, date - now);
}

/** What tells one version of an object from the next. */
export interface Validators {
  etag: string | null;
  lastModified: string | null;
}

export function validatorsOf(headers: { get(name: string): string | null }): Validators {
  return { etag: headers.get("etag"), lastModified: headers.get("last-modified") };
}

/** false only if both sides say something and it differs: servers may leave validators out of partial answers. */
export function sameVersion(a: Validators, b: Validators): boolean {
  if (a.etag !== null && b.etag !== null) return a.etag === b.etag;
  if (a.lastModified !== null && b.lastModified !== null) return a.lastModified === b.lastModified;
  return true;
}
