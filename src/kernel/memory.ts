/**
 * The region table: which bytes of a kernel's memory belong to what.
 *
 * Regions are planned at open, before the memory exists; then the memory is made once, at its final size. It never grows:
 * a view on it cannot detach while a read into it is under way.
 */
import { assert } from "../base/error.js";
import { alignUp } from "../base/int.js";
import { MAX_KERNEL_BYTES } from "./source.js";
import type { Kernel } from "./types.js";

export interface Region {
  readonly name: string;
  /** Byte offset in the kernel's memory: a "pointer". */
  readonly offset: number;
  readonly size: number;
}

/** The first bytes belong to nobody: a pointer that was never set points here. */
const GUARD = 64;

export class RegionPlan {
  readonly regions: Region[] = [];
  #end = GUARD;
  #made = false;

  /** Bytes planned so far. */
  get size(): number {
    return this.#end;
  }

  /**
   * Plans a region.
   * @param size bytes; 0 is allowed. Callers hold what an image asks for to their named limits before they come here.
   * @param align a power of two, at least 16 for kernel tables
   */
  add(name: string, size: number, align = 64): Region {
    assert(!this.#made, `region ${name} is planned after the memory was made`);
    assert(Number.isSafeInteger(size) && size >= 0, `region ${name} has size ${size}`);
    assert(align > 0 && (align & (align - 1)) === 0, `region ${name} has alignment ${align}`);
    assert(!this.regions.some((region) => region.name === name), `region ${name} is planned twice`);
    const offset = alignUp(this.#end, align);
    assert(offset + size <= MAX_KERNEL_BYTES, `region ${name} does not fit into the kernel memory`);
    const region: Region = Object.freeze({ name, offset, size });
    this.regions.push(region);
    this.#end = offset + size;
    return region;
  }

  /** Has `make` make the memory with all planned regions, zero-filled. @throws BlockError ERR_TOO_LARGE if the runtime has not got it */
  create<K extends Pick<Kernel, "memory">>(make: (bytes: number) => K): K {
    assert(!this.#made, "the kernel memory is made twice");
    const kernel = make(this.#end);
    this.#made = true;
    return kernel;
  }
}

/** The bytes of a region. */
export function regionBytes(kernel: Kernel, region: Region): Uint8Array {
  return kernel.memory.subarray(region.offset, region.offset + region.size);
}

const LITTLE_ENDIAN: boolean = new Uint8Array(new Uint32Array([1]).buffer)[0] === 1;

/** The u32 counters at `offset` (a multiple of 4) as an array; null where the machine's byte order is not the kernel's. */
export function countersOf(kernel: Kernel, offset: number, count: number): Uint32Array | null {
  return LITTLE_ENDIAN ? new Uint32Array(kernel.memory.buffer, kernel.memory.byteOffset + offset, count) : null;
}
