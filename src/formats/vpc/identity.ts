/** What every open VHD knows about itself: who it is, and by which rule its size goes. */
import { BlockError } from "../../base/error.js";
import { MAX_GEOMETRY, shapeFor, type Geometry } from "./geometry.js";

export interface VhdIdentity {
  uuid: Uint8Array;
  /** The size is what the geometry says (Virtual PC), not what the size field says (Hyper-V and others). */
  byGeometry: boolean;
  /** The geometry is the largest one, so that the size field counts. */
  maxGeometry: boolean;
}

export interface Vhd {
  readonly identity: VhdIdentity;
}

/** The geometry of an image that is to have `size` bytes; throws where its rule cannot say that size. */
export function resizedShape(identity: VhdIdentity, size: number): Geometry {
  if (size % 512 !== 0) throw new BlockError("ERR_INVALID_ARGUMENT", "The new size must be a multiple of 512");
  if (identity.maxGeometry) {
    shapeFor(size, true);
    return MAX_GEOMETRY;
  }
  const shape = shapeFor(size, false);
  if (identity.byGeometry && shape.totalSectors * 512 !== size) {
    throw new BlockError("ERR_INVALID_ARGUMENT", "The requested image size cannot be represented in CHS geometry", {
      hint: `Try size=${shape.totalSectors * 512}`,
    });
  }
  return shape.geometry;
}
