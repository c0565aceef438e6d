/** Sectors that the guest wrote and that are not (or cannot be) part of the host's files: in a scratch storage. */
import { StorageRequest, storageRead, storageWrite, type Op } from "../../block/op.js";
import type { Storage } from "../../storage/storage.js";
import { SECTOR } from "./layout.js";

export class Overlay {
  readonly #storage: Storage;
  readonly #written: Uint8Array;

  constructor(storage: Storage, sectors: number) {
    this.#storage = storage;
    this.#written = new Uint8Array(Math.ceil(sectors / 8));
  }

  has(sector: number): boolean {
    return (this.#written[sector >> 3]! & (1 << (sector & 7))) !== 0;
  }
  /** Sectors from `sector` on, before `end`, that are all written or all not. */
  run(sector: number, end: number): number {
    const first = this.has(sector);
    let at = sector + 1;
    while (at < end && this.has(at) === first) at++;
    return at - sector;
  }
  /** Forgets sectors [sector, end). */
  clear(sector: number, end: number): void {
    for (let at = sector; at < end; at++) this.#written[at >> 3]! &= ~(1 << (at & 7));
  }

  *read(into: Uint8Array, sector: number): Op<void> {
    const got = yield* storageRead(this.#storage, into, sector * SECTOR);
    into.fill(0, got);
  }
  *write(from: Uint8Array, sector: number): Op<void> {
    yield* storageWrite(this.#storage, from, sector * SECTOR);
    for (let at = sector; at < sector + from.length / SECTOR; at++) this.#written[at >> 3]! |= 1 << (at & 7);
  }

  *close(): Op<void> {
    yield new StorageRequest(this.#storage, "close");
  }
}
