// The images that the benchmarks read.
import { randomFillSync } from "node:crypto";
import { closeSync, ftruncateSync, openSync, writeSync } from "node:fs";
import { MiB } from "./bench.mjs";

/** `mib` MiB: a third holes, the rest data, some of it in fragments of 64 KiB; a fifth of it can be compressed. Always the same shape. */
export function makeMixedImage(file, mib) {
  const fd = openSync(file, "w");
  ftruncateSync(fd, mib * MiB);
  const noise = randomFillSync(Buffer.alloc(MiB));
  const text = Buffer.alloc(MiB, "what can be compressed, ");
  let state = 1;
  const random = () => (state = (Math.imul(state, 1103515245) + 12345) >>> 0) / 2 ** 32;
  for (let at = 0; at < mib; at++) {
    const kind = random();
    if (kind < 0.35) continue;
    if (kind < 0.9) writeSync(fd, kind < 0.7 ? noise : text, 0, MiB, at * MiB);
    else for (let part = 0; part < MiB; part += 131072) writeSync(fd, noise, 0, 65536, at * MiB + part);
  }
  closeSync(fd);
}
