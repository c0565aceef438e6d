/** Disk geometry, and the sizes it implies: Virtual PC believes cylinders, heads and sectors; Hyper-V believes the size field. */
import { BlockError } from "../../base/error.js";

export interface Geometry {
  cylinders: number;
  heads: number;
  /** Per track. */
  sectors: number;
}

/** The largest geometry there is; with it the size field counts, whoever made the image. */
export const MAX_GEOMETRY: Geometry = { cylinders: 65535, heads: 16, sectors: 255 };
const MAX_GEOMETRY_SECTORS = 65535 * 16 * 255;
/** 2040 GiB. */
export const MAX_SECTORS = 0xff000000;

export const sectorsOf = (geometry: Geometry): number => geometry.cylinders * geometry.heads * geometry.sectors;
export const isMaxGeometry = (geometry: Geometry): boolean => sectorsOf(geometry) === MAX_GEOMETRY_SECTORS;

/** The geometry the VHD specification prescribes for a number of sectors; it may hold fewer than that. */
export function geometryOf(totalSectors: number): Geometry {
  const total = Math.min(totalSectors, MAX_GEOMETRY_SECTORS);
  let sectors: number;
  let heads: number;
  let tracks: number;
  if (total >= 65535 * 16 * 63) {
    sectors = 255;
    heads = 16;
    tracks = Math.floor(total / sectors);
  } else {
    sectors = 17;
    tracks = Math.floor(total / sectors);
    heads = Math.max(4, Math.ceil(tracks / 1024));
    if (tracks >= heads * 1024 || heads > 16) {
      sectors = 31;
      heads = 16;
      tracks = Math.floor(total / sectors);
    }
    if (tracks >= heads * 1024) {
      sectors = 63;
      heads = 16;
      tracks = Math.floor(total / sectors);
    }
  }
  return { cylinders: Math.floor(tracks / heads), heads, sectors };
}

export interface DiskShape {
  geometry: Geometry;
  totalSectors: number;
}

/**
 * Geometry and size for a disk of at least `size` bytes. Not forced, the size is rounded up to the next one a geometry can
 * say; too large for that, or forced, the geometry is the largest one and the size field counts.
 */
export function shapeFor(size: number, force: boolean): DiskShape {
  const wanted = Math.floor(size / 512);
  let geometry = MAX_GEOMETRY;
  if (!force) {
    const least = Math.min(MAX_GEOMETRY_SECTORS, wanted);
    geometry = { cylinders: 0, heads: 0, sectors: 0 };
    for (let extra = 0; least > sectorsOf(geometry); extra++) geometry = geometryOf(least + extra);
  }
  if (!isMaxGeometry(geometry)) return { geometry, totalSectors: sectorsOf(geometry) };
  if (wanted > MAX_SECTORS) throw new BlockError("ERR_TOO_LARGE", "Disk size is too large, max size is 2040 GiB");
  return { geometry, totalSectors: wanted };
}

/** Programs that go by the size field. All others (Virtual PC "vpc ", QEMU "qemu") go by the geometry. */
const BY_SIZE: readonly string[] = ["win ", "qem2", "d2v ", "CTXS"];

export type SizeCalc = "auto" | "current_size" | "chs";
export const isSizeCalc = (text: string): text is SizeCalc => text === "auto" || text === "current_size" || text === "chs";

/** Whether an image by `creatorApp` has the size its geometry says. */
export function goesByGeometry(creatorApp: string, geometry: Geometry, calc: SizeCalc): boolean {
  if (calc === "current_size" || isMaxGeometry(geometry)) return false;
  if (calc === "chs") return true;
  return !BY_SIZE.includes(creatorApp) && !creatorApp.startsWith("tap");
}
