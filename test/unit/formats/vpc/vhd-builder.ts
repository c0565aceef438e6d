/** Differencing VHDs, which neither QEMU nor we make: built by hand for the tests. */
import { viewOf, writeU64BE } from "../../../../src/base/bytes.js";
import { buildDynamicHeader } from "../../../../src/formats/vpc/dynamic-header.js";
import { buildFooter, checksum, VHD_DIFFERENCING } from "../../../../src/formats/vpc/footer.js";
import { shapeFor } from "../../../../src/formats/vpc/geometry.js";

export interface DifferencingSpec {
  size: number;
  blockSize: number;
  parentUuid: Uint8Array;
  /** Name by platform code. */
  locators: Readonly<Record<string, string>>;
  parentName?: string;
  /** Sectors the image holds, by number, and the byte that fills each. */
  sectors: ReadonlyMap<number, number>;
}

export function buildDifferencing(spec: DifferencingSpec): Uint8Array {
  const { size, blockSize, sectors } = spec;
  const perBlock = blockSize / 512;
  const entries = Math.ceil(size / blockSize);
  const tableOffset = 4096;
  const bitmapBytes = Math.max(512, Math.ceil(perBlock / 8 / 512) * 512);
  const footer = buildFooter({
    type: VHD_DIFFERENCING,
    creatorApp: "win ",
    size,
    geometry: shapeFor(size, false).geometry,
    uuid: new Uint8Array(16).fill(7),
    now: 1_700_000_000_000,
  });
  const header = buildDynamicHeader(tableOffset, entries, blockSize);
  const view = viewOf(header);
  header.set(spec.parentUuid, 40);
  [...(spec.parentName ?? "")].forEach((char, i) => view.setUint16(64 + i * 2, char.charCodeAt(0), false));
  const blocks = [...new Set([...sectors.keys()].map((sector) => Math.floor(sector / perBlock)))].sort((a, b) => a - b);
  const dataOffset = 16384;
  const out = new Uint8Array(dataOffset + blocks.length * (bitmapBytes + blockSize) + 512);
  let nameOffset = 8192;
  Object.entries(spec.locators).forEach(([platform, name], i) => {
    const bytes = platform === "MacX" ? new TextEncoder().encode(name) : new Uint8Array(name.length * 2);
    if (platform !== "MacX") [...name].forEach((char, at) => viewOf(bytes).setUint16(at * 2, char.charCodeAt(0), true));
    const base = 576 + i * 24;
    for (let at = 0; at < 4; at++) header[base + at] = platform.charCodeAt(at);
    view.setUint32(base + 4, 512, false);
    view.setUint32(base + 8, bytes.length, false);
    writeU64BE(view, base + 16, nameOffset);
    out.set(bytes, nameOffset);
    nameOffset += 512;
  });
  view.setUint32(36, checksum(header, 36), false);
  out.set(footer, 0);
  out.set(header, 512);
  out.fill(0xff, tableOffset, tableOffset + entries * 4);
  blocks.forEach((block, i) => {
    const record = dataOffset + i * (bitmapBytes + blockSize);
    viewOf(out).setUint32(tableOffset + block * 4, record / 512, false);
    for (const [sector, fill] of sectors) {
      if (Math.floor(sector / perBlock) !== block) continue;
      const within = sector % perBlock;
      out[record + (within >>> 3)]! |= 0x80 >>> (within & 7);
      out.fill(fill, record + bitmapBytes + within * 512, record + bitmapBytes + (within + 1) * 512);
    }
    // What the bitmap does not claim is rubbish.
    for (let within = 0; within < perBlock; within++) {
      if (!sectors.has(block * perBlock + within))
        out.fill(0xee, record + bitmapBytes + within * 512, record + bitmapBytes + (within + 1) * 512);
    }
  });
  out.set(footer, out.length - 512);
  return out;
}
