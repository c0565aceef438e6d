/** Writing an OVA front to back: descriptor, disk (streamOptimized), manifest. */
import { encodeText, toHex } from "../../base/bytes.js";
import { BlockError } from "../../base/error.js";
import { alignUp } from "../../base/int.js";
import type { Op } from "../../block/op.js";
import { runningSha256 } from "../../codec/checksum/sha256.js";
import { formatOvf } from "./ovf.js";
import { TAR_BLOCK, tarEnd, tarHeader, tarPadding } from "./tar.js";

/** Where the archive goes, in order. Bytes must not be kept after the call has ended. */
export interface OvaSink {
  append(bytes: Uint8Array): Op<void>;
  /** Changes bytes that were appended before. Without it the disk is compressed twice: once to learn its size. */
  patch?(offset: number, bytes: Uint8Array): Op<void>;
}

/** Writes the disk's file: `writeStreamOptimized` of the vmdk format. Called twice, it must yield the same bytes. */
export type DiskWriter = (append: (bytes: Uint8Array) => Op<void>) => Op<{ bytes: number; populated: number }>;

export interface OvaOptions {
  /** Name of the virtual machine and of the files. */
  name: string;
  /** SHA-256 manifest (default true). */
  manifest?: boolean;
  cpus?: number;
  memoryMiB?: number;
}

export interface OvaResult {
  /** Bytes of the archive. */
  bytes: number;
  /** Bytes of the disk's file in it. */
  diskBytes: number;
}

/** Room for the descriptor where its final text is not known when it is written. */
const OVF_ROOM = 8192;

/** @param capacity virtual size of the disk in bytes */
export function* writeOva(sink: OvaSink, capacity: number, disk: DiskWriter, options: OvaOptions, time: number): Op<OvaResult> {
  if (!/^[^/\\"\r\n\0]{1,80}$/.test(options.name))
    throw new BlockError("ERR_INVALID_ARGUMENT", `'${options.name}' cannot be the name of an OVA`);
  const writer = new OvaWriter(sink, capacity, disk, options, time);
  return yield* writer.run();
}

class OvaWriter {
  readonly #sink: OvaSink;
  readonly #capacity: number;
  readonly #disk: DiskWriter;
  readonly #options: OvaOptions;
  readonly #time: number;
  #at = 0;

  constructor(sink: OvaSink, capacity: number, disk: DiskWriter, options: OvaOptions, time: number) {
    this.#sink = sink;
    this.#capacity = capacity;
    this.#disk = disk;
    this.#options = options;
    this.#time = time;
  }

  *run(): Op<OvaResult> {
    const { name, manifest = true } = this.#options;
    const [ovfName, diskName] = [`${name}.ovf`, `${name}-disk1.vmdk`];
    // The sizes stand before what they are sizes of.
    const known = this.#sink.patch === undefined ? yield* this.#disk(discard) : null;
    const early = this.#descriptor(diskName, known);
    yield* this.#append(tarHeader(ovfName, early.length, this.#time));
    const ovfAt = this.#at;
    yield* this.#append(early);
    yield* this.#append(tarPadding(early.length));
    const headerAt = this.#at;
    yield* this.#append(tarHeader(diskName, known?.bytes ?? 0, this.#time));
    const hash = runningSha256();
    const append = this.#append.bind(this);
    const made = yield* this.#disk(function* (bytes) {
      if (manifest) hash.update(bytes);
      yield* append(bytes);
    });
    if (this.#at !== headerAt + TAR_BLOCK + made.bytes || (known !== null && known.bytes !== made.bytes)) {
      throw new BlockError("ERR_CHANGED", "The disk changed while the OVA was written");
    }
    yield* this.#append(tarPadding(made.bytes));
    const descriptor = this.#descriptor(diskName, made);
    if (this.#sink.patch !== undefined) {
      yield* this.#sink.patch(headerAt, tarHeader(diskName, made.bytes, this.#time));
      yield* this.#sink.patch(ovfAt, descriptor);
    }
    if (manifest) {
      const sum = runningSha256();
      sum.update(descriptor);
      const text = encodeText(`SHA256(${ovfName})= ${toHex(sum.digest())}\nSHA256(${diskName})= ${toHex(hash.digest())}\n`);
      yield* this.#append(tarHeader(`${name}.mf`, text.length, this.#time));
      yield* this.#append(text);
      yield* this.#append(tarPadding(text.length));
    }
    yield* this.#append(tarEnd());
    return { bytes: this.#at, diskBytes: made.bytes };
  }

  /** Always as long as its room, filled up with blanks. */
  #descriptor(diskFile: string, made: { bytes: number; populated: number } | null): Uint8Array {
    const text = formatOvf({
      name: this.#options.name,
      diskFile,
      diskFileSize: made?.bytes ?? null,
      capacity: this.#capacity,
      populated: made?.populated ?? null,
      cpus: this.#options.cpus ?? 1,
      memoryMiB: this.#options.memoryMiB ?? 1024,
    });
    const bytes = encodeText(text);
    const room = new Uint8Array(alignUp(Math.max(bytes.length, OVF_ROOM), OVF_ROOM)).fill(0x20);
    room.set(bytes);
    room[room.length - 1] = 0x0a;
    return room;
  }

  *#append(bytes: Uint8Array): Op<void> {
    if (bytes.length === 0) return;
    yield* this.#sink.append(bytes);
    this.#at += bytes.length;
  }
}

// eslint-disable-next-line require-yield
function* discard(): Op<void> {}
