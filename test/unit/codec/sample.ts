/** Seeded sample data for codec tests: text-like, sparse, repetitive and random stretches. */
import * as assert from "uvu/assert";
import { equalBytes } from "../../../src/base/bytes.js";

export function random(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

export function sample(length: number, seed: number): Uint8Array {
  const next = random(seed);
  const bytes = new Uint8Array(length);
  const words = "block layer image cluster refcount overlay backing snapshot bitmap extent \n".split(" ");
  let at = 0;
  while (at < length) {
    const run = Math.min(length - at, 1 + Math.floor(next() * 3000));
    const kind = Math.floor(next() * 5);
    for (let i = 0; i < run;) {
      if (kind === 0) bytes[at + i++] = Math.floor(next() * 256);
      else if (kind === 1) bytes[at + i++] = 0;
      else if (kind === 2) bytes[at + i] = i++ % 7;
      else if (kind === 3 && at > 5000) bytes[at + i] = bytes[at + i++ - 4321]!;
      else for (const c of `${words[Math.floor(next() * words.length)]} `) if (i < run) bytes[at + i++] = c.charCodeAt(0);
    }
    at += run;
  }
  return bytes;
}

/** `bytes` with `tail` bytes of 0xa5 after it: what sector padding looks like to a decoder. */
export function padded(bytes: Uint8Array, tail: number): Uint8Array {
  const all = new Uint8Array(bytes.length + tail).fill(0xa5, bytes.length);
  all.set(bytes);
  return all;
}

/** One damaged copy of `bytes`: flipped bytes, often near the beginning, sometimes a cut. */
export function damaged(bytes: Uint8Array, next: () => number): Uint8Array {
  const copy = Uint8Array.from(bytes);
  const changes = 1 + Math.floor(next() * 4);
  const reach = next() < 0.5 ? Math.min(64, copy.length) : copy.length;
  for (let i = 0; i < changes; i++) copy[Math.floor(next() * reach)] = Math.floor(next() * 256);
  return next() < 0.2 ? copy.subarray(0, Math.floor(next() * copy.length)) : copy;
}

/** Fails, without printing megabytes, when two byte arrays differ. */
export function same(actual: Uint8Array, expected: Uint8Array, message = ""): void {
  if (equalBytes(actual, expected)) return;
  const at = expected.findIndex((byte, i) => byte !== actual[i]);
  assert.unreachable(
    `${message} bytes differ: lengths ${actual.length}, ${expected.length}, first difference at ${at}: ${actual[at]}, not ${expected[at]}`,
  );
}
