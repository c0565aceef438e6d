/** UUIDs as image headers hold them: 16 bytes. */

/** A random (version 4) UUID, in the byte order of RFC 9562. */
export function randomUuid(): Uint8Array {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6]! & 0x0f) | 0x40;
  bytes[8] = (bytes[8]! & 0x3f) | 0x80;
  return bytes;
}

export function isNullUuid(bytes: Uint8Array): boolean {
  return bytes.every((byte) => byte === 0);
}

/** "8-4-4-4-12" text of the bytes in RFC order. */
export function uuidText(bytes: Uint8Array): string {
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20, 32)}`;
}

/** The same UUID with its first three fields in the other byte order (Microsoft and VirtualBox store them little-endian). */
export function swapUuid(bytes: Uint8Array): Uint8Array {
  const at = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];
  return Uint8Array.from(at, (index) => bytes[index]!);
}
