/** SHA-256 over bytes that come in pieces, on any runtime. */
import { sha256 } from "@noble/hashes/sha2.js";

export interface RunningHash {
  update(bytes: Uint8Array): void;
  /** The digest of all bytes so far; afterwards the hash is used up. */
  digest(): Uint8Array;
}

export function runningSha256(): RunningHash {
  const hash = sha256.create();
  return {
    update: (bytes) => void hash.update(bytes),
    digest: () => hash.digest(),
  };
}
