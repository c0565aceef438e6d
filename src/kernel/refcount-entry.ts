/**
 * One refcount of a refcount block. Both kernel flavours use this code: a call into WebAssembly costs more than two
 * DataView reads (docs/KERNELS.md).
 */

const TWO32 = 4294967296;

/** Entry `index` of a block with entries of 2^order bits; sub-byte entries start at the least significant bit. */
export function refGet(view: DataView, block: number, index: number, order: number): number {
  switch (order) {
    case 4:
      return view.getUint16(block + index * 2, false);
    case 3:
      return view.getUint8(block + index);
    case 5:
      return view.getUint32(block + index * 4, false);
    case 6: {
      const value = view.getUint32(block + index * 8, false) * TWO32 + view.getUint32(block + index * 8 + 4, false);
      return value <= Number.MAX_SAFE_INTEGER ? value : Infinity;
    }
    default: {
      const byte = view.getUint8(block + (index >>> (3 - order)));
      return (byte >>> ((index & ((8 >>> order) - 1)) << order)) & ((1 << (1 << order)) - 1);
    }
  }
}

/** Stores a refcount; the caller has checked that `value` fits. */
export function refSet(view: DataView, block: number, index: number, order: number, value: number): void {
  switch (order) {
    case 4:
      return view.setUint16(block + index * 2, value, false);
    case 3:
      return view.setUint8(block + index, value);
    case 5:
      return view.setUint32(block + index * 4, value, false);
    case 6:
      view.setUint32(block + index * 8, Math.floor(value / TWO32), false);
      return view.setUint32(block + index * 8 + 4, value % TWO32, false);
    default: {
      const at = block + (index >>> (3 - order));
      const shift = (index & ((8 >>> order) - 1)) << order;
      const mask = ((1 << (1 << order)) - 1) << shift;
      return view.setUint8(at, (view.getUint8(at) & ~mask) | ((value << shift) & mask));
    }
  }
}

/** Largest refcount an order can hold; 2^64-1 (order 6) rounds up to 2^64. */
export function refMax(order: number): number {
  return 2 ** (1 << order) - 1;
}
