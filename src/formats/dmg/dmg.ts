/**
 * Apple disk images (UDIF, .dmg), read-only: chunks stored raw, as zeros, or compressed with ADC, zlib, bzip2, LZFSE or xz; also
 * encrypted.
 */
import { startsWith } from "../../base/bytes.js";
import { BlockError, prefixError } from "../../base/error.js";
import { alignDown } from "../../base/int.js";
import type { Environment, OpenContext } from "../../block/context.js";
import type { Driver, MappedImpl, SpecialExtent } from "../../block/driver.js";
import type { ExtentList } from "../../block/extent.js";
import { readBytes, readPadded } from "../../block/io.js";
import type { Node } from "../../block/node.js";
import { foreign, type Op } from "../../block/op.js";
import { takeString } from "../../block/take.js";
import type { CodecName } from "../../codec/codec.js";
import { refuseWrite } from "../shared/read-only.js";
import { passphraseOf } from "../shared/secrets.js";
import { checkPlace, ChunkType, readChunks, readTrailer, SECTOR, type Chunk } from "./blocks.js";
import { isEncrypted, openEncrypted } from "./encrypted.js";

const CODEC_OF: Partial<Record<number, CodecName>> = {
  [ChunkType.adc]: "adc",
  [ChunkType.zlib]: "zlib",
  [ChunkType.bzip2]: "bzip2",
  [ChunkType.lzfse]: "lzfse",
  [ChunkType.xz]: "xz",
};

const GAP = -1;
/** Chunks one `map` call names at most. */
const MAP_CHUNKS = 64;

class DmgImage implements MappedImpl {
  readonly shape = "mapped";
  readonly size: number;
  readonly allocationUnit = 512;
  readonly #node: Node;
  /** Where the chunks are: the file, or what it holds decrypted. */
  readonly #file: Node;
  readonly #chunks: readonly Chunk[];
  /** The chunk that was read last, plain: small reads in a row decompress it once. */
  #kept = GAP;
  #plain: Uint8Array = new Uint8Array(0);

  constructor(node: Node, file: Node, size: number, chunks: readonly Chunk[]) {
    this.#node = node;
    this.#file = file;
    this.size = size;
    this.#chunks = chunks;
  }

  /** Index of the last chunk that begins at or before `offset`; -1 when all begin later. */
  #find(offset: number): number {
    let low = 0;
    let high = this.#chunks.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#chunks[middle]!.start <= offset) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }

  map(offset: number, length: number, out: ExtentList): null {
    const end = offset + length;
    let at = offset;
    for (let count = 0; at < end && count < MAP_CHUNKS; count++) {
      const index = this.#find(at);
      const chunk = this.#chunks[index];
      const inside = chunk !== undefined && at < chunk.start + chunk.length;
      const stop = Math.min(end, inside ? chunk.start + chunk.length : (this.#chunks[index + 1]?.start ?? this.size));
      out.pushSpecial(at, stop - at, this.#node.file, inside ? index : GAP, 0, false);
      at = stop;
    }
    return null;
  }
  // eslint-disable-next-line require-yield
  *load(): Op<void> {}

  *readSpecial(extent: SpecialExtent, at: number, into: Uint8Array): Op<void> {
    const chunk = this.#chunks[extent.host];
    if (chunk === undefined) {
      throw new BlockError("ERR_CORRUPT", `DMG: no chunk holds byte ${at} of the disk`, {
        errno: "EIO",
        node: this.#node.nodeName,
        offset: at,
      });
    }
    if (chunk.type === ChunkType.zeroFill || chunk.type === ChunkType.ignore) {
      into.fill(0);
      return;
    }
    if (chunk.type !== ChunkType.raw && CODEC_OF[chunk.type] === undefined) {
      throw new BlockError("ERR_UNSUPPORTED", `DMG: chunk ${extent.host} is of unknown type 0x${chunk.type.toString(16)}`, {
        node: this.#node.nodeName,
        offset: at,
      });
    }
    checkPlace(chunk, extent.host, this.#file.size);
    const from = at - chunk.start;
    if (chunk.type === ChunkType.raw) {
      yield* readPadded(this.#file, into, chunk.host + from);
      return;
    }
    if (from === 0 && into.length === chunk.length) {
      yield* this.#unpack(extent.host, chunk, into);
      return;
    }
    if (this.#kept !== extent.host) {
      const plain = new Uint8Array(chunk.length);
      yield* this.#unpack(extent.host, chunk, plain);
      this.#plain = plain;
      this.#kept = extent.host;
    }
    into.set(this.#plain.subarray(from, from + into.length));
  }

  *#unpack(index: number, chunk: Chunk, into: Uint8Array): Op<void> {
    const name = CODEC_OF[chunk.type]!;
    const codec = this.#node.environment.codecs.decompressor(name);
    const from = yield* readBytes(this.#file, chunk.host, chunk.packed);
    try {
      const { sync: now, async: later } = codec;
      yield* foreign(
        "Decompressing",
        now === null ? null : () => now(from, into),
        now === null && later !== null ? () => later(from, into) : null,
      );
    } catch (error) {
      throw prefixError(`DMG: chunk ${index} (${name}) at offset ${chunk.host}: `, error);
    }
  }

  // eslint-disable-next-line require-yield
  *flush(): Op<void> {}
  // eslint-disable-next-line require-yield
  *close(): Op<void> {}
}

/** What an encrypted image holds: a UDIF image, or the disk as it is (read/write images have no trailer). */
function* openContent(node: Node, file: Node): Op<MappedImpl> {
  const head = yield* readBytes(file, 0, Math.min(4, file.size));
  if (startsWith(head, "sprs"))
    throw new BlockError(
      "ERR_UNSUPPORTED",
      "The encrypted DMG holds an Apple sparse image of the old kind, which cannot be read",
    );
  try {
    return yield* openChunks(node, file);
  } catch (error) {
    if (!(error instanceof BlockError) || error.code !== "ERR_NOT_THIS_FORMAT") throw error;
    const size = alignDown(file.size, SECTOR);
    return new DmgImage(node, file, size, [{ type: ChunkType.raw, start: 0, length: size, host: 0, packed: size }]);
  }
}

function* openChunks(node: Node, file: Node): Op<MappedImpl> {
  const trailer = yield* readTrailer(file);
  return new DmgImage(node, file, trailer.size, yield* readChunks(file, trailer));
}

function* passphraseOfImage(environment: Environment, keySecret: string | undefined): Op<Uint8Array> {
  try {
    return yield* passphraseOf(environment, keySecret, "", "open");
  } catch (error) {
    throw prefixError(
      "",
      error,
      "The file is an encrypted Apple disk image: its passphrase is the secret that key-secret names.",
    );
  }
}

export const dmg: Driver = {
  name: "dmg",
  category: "format",
  runtimeOptions: ["key-secret"],
  strongOptions: ["key-secret"],
  // The trailer is at the end of the file: only the name tells at the beginning.
  probe: (head, filename) => (isEncrypted(head) ? 100 : filename.endsWith(".dmg") ? 2 : 0),
  *open(context: OpenContext): Op<MappedImpl> {
    refuseWrite(context);
    yield* context.openChild("file", "image");
    const { node, environment } = context;
    const keySecret = takeString(context.options, "key-secret");
    if (!isEncrypted(yield* readBytes(node.file, 0, Math.min(8, node.file.size)))) return yield* openChunks(node, node.file);
    return yield* openContent(node, yield* openEncrypted(node, yield* passphraseOfImage(environment, keySecret)));
  },
};
