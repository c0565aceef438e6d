/** One refcount of a refcount block: 2^order bits wide, big endian, sub-byte entries from the least significant bit up. */

export function getEntry(block: usize, index: u32, order: u32): u64 {
  if (order === 4) return bswap(load<u16>(block + ((<usize>index) << 1)));
  if (order === 3) return load<u8>(block + index);
  if (order === 5) return bswap(load<u32>(block + ((<usize>index) << 2)));
  if (order === 6) return bswap(load<u64>(block + ((<usize>index) << 3)));
  const byte: u32 = load<u8>(block + (index >> (3 - order)));
  return (byte >> ((index & ((8 >> order) - 1)) << order)) & ((1 << (1 << order)) - 1);
}

export function setEntry(block: usize, index: u32, order: u32, value: u64): void {
  if (order === 4) store<u16>(block + ((<usize>index) << 1), bswap(<u16>value));
  else if (order === 3) store<u8>(block + index, <u8>value);
  else if (order === 5) store<u32>(block + ((<usize>index) << 2), bswap(<u32>value));
  else if (order === 6) store<u64>(block + ((<usize>index) << 3), bswap(value));
  else {
    const at = block + (index >> (3 - order));
    const shift: u32 = (index & ((8 >> order) - 1)) << order;
    const mask: u32 = ((1 << (1 << order)) - 1) << shift;
    store<u8>(at, <u8>((<u32>load<u8>(at) & ~mask) | (((<u32>value) << shift) & mask)));
  }
}

/** Largest value of an entry. */
export function maxEntry(order: u32): u64 {
  return <u64>-1 >> (64 - (1 << order));
}

/** A vector with 1 in every field of 2^order bits; only for orders below 4, where fields do not cross bytes. */
export function fieldOnes(order: u32): v128 {
  if (order === 0) return i8x16.splat(-1);
  if (order === 1) return i8x16.splat(0x55);
  if (order === 2) return i8x16.splat(0x11);
  return i8x16.splat(1);
}

/** Whether any field of the vector is zero. The byte order inside of fields does not matter here. */
export function anyZeroField(v: v128, order: u32): bool {
  if (order === 4) return !i16x8.all_true(v);
  if (order === 3) return !i8x16.all_true(v);
  if (order === 5) return !i32x4.all_true(v);
  if (order === 6) return !i64x2.all_true(v);
  // Fold every field into its lowest bit; what comes over from the next field lands above that bit.
  let folded = v;
  if (order > 0) folded = v128.or(folded, i64x2.shr_u(folded, 1));
  if (order > 1) folded = v128.or(folded, i64x2.shr_u(folded, 2));
  return v128.any_true(v128.andnot(fieldOnes(order), folded));
}
