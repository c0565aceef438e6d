/** The last few decompressed clusters: small reads in a compressed cluster decompress it once. */

import { allocate } from "../../base/allocate.js";

const KEPT = 4;

export class DecompressedClusters {
  readonly #clusterSize: number;
  readonly #entries: { host: number; bytes: Uint8Array }[] = [];

  constructor(clusterSize: number) {
    this.#clusterSize = clusterSize;
  }

  find(host: number): Uint8Array | null {
    const index = this.#entries.findIndex((entry) => entry.host === host);
    if (index < 0) return null;
    const [entry] = this.#entries.splice(index, 1);
    this.#entries.unshift(entry!);
    return entry!.bytes;
  }

  /** A buffer to decompress into; `keep` it under its host offset when that worked. */
  take(): Uint8Array {
    return this.#entries.length >= KEPT ? this.#entries.pop()!.bytes : allocate(this.#clusterSize);
  }

  keep(host: number, bytes: Uint8Array): void {
    this.#entries.unshift({ host, bytes });
    if (this.#entries.length > KEPT) this.#entries.pop();
  }

  /** The clusters may have been overwritten or freed. */
  clear(): void {
    this.#entries.length = 0;
  }
}
