/** The luks driver: a LUKS volume in a file, the guest's sectors encrypted one by one behind the header. */
import { BlockError } from "../../base/error.js";
import { alignUp } from "../../base/int.js";
import type { CreateContext, OpenContext } from "../../block/context.js";
import type {
  BlockDriverInfo,
  Driver,
  MappedImpl,
  Measure,
  MeasureContext,
  Miss,
  TruncateOptions,
  WritePlan,
} from "../../block/driver.js";
import { ExtentKind, type ExtentList } from "../../block/extent.js";
import { flush, readBytes, truncate, writeGrow } from "../../block/io.js";
import type { Node } from "../../block/node.js";
import { Mutex, type Op } from "../../block/op.js";
import { takeString } from "../../block/take.js";
import type { ImageInfoSpecific } from "../../block/types.js";
import type { Preallocation } from "../../storage/storage.js";
import { amendLuks, LUKS_AMEND_OPTIONS } from "../shared/luks-amend.js";
import { createLuks, LUKS_CREATE_OPTIONS, luksHeaderBytes, luksPassphrase, readLuksSettings } from "../shared/luks-create.js";
import { decodeLuksHeader, isLuks, LUKS_HEADER_BYTES, LUKS_SECTOR, type LuksHeader } from "../shared/luks-header.js";
import { luksInfo } from "../shared/luks-info.js";
import { LuksVolume, type LuksArea } from "../shared/luks-volume.js";
import { cryptoOf, passphraseOf } from "../shared/secrets.js";
import { lockedCipher, payloadCipher, type PayloadCipher } from "../shared/payload-cipher.js";

function areaOf(file: Node): LuksArea {
  return {
    read: (offset, length) => readBytes(file, offset, length),
    write: (offset, bytes) => writeGrow(file, bytes, offset),
    flush: () => flush(file),
  };
}

class Luks implements MappedImpl {
  readonly shape = "mapped";
  readonly allocationUnit = LUKS_SECTOR;
  readonly transformUnit = LUKS_SECTOR;
  readonly decrypt: PayloadCipher["decrypt"];
  readonly encrypt: PayloadCipher["encrypt"];
  readonly #node: Node;
  readonly #header: LuksHeader;
  readonly #keySecret: string | undefined;
  readonly #amending = new Mutex();
  #size: number;

  constructor(node: Node, header: LuksHeader, keySecret: string | undefined, cipher: PayloadCipher) {
    this.#node = node;
    this.#header = header;
    this.#keySecret = keySecret;
    this.decrypt = cipher.decrypt;
    this.encrypt = cipher.encrypt;
    this.#size = this.#payloadSize();
  }

  #payloadSize(): number {
    return alignUp(this.#node.file.size, LUKS_SECTOR) - this.#header.payloadOffset;
  }
  get size(): number {
    return this.#size;
  }

  map(offset: number, length: number, out: ExtentList): Miss | null {
    out.push(offset, length, ExtentKind.data, this.#node.file, this.#header.payloadOffset + offset);
    return null;
  }
  *load(): Op<void> {}

  // eslint-disable-next-line require-yield
  *prepareWrite(offset: number, length: number): Op<WritePlan> {
    return {
      length,
      pieces: [{ start: offset, length, file: this.#node.file, host: this.#header.payloadOffset + offset, fresh: false }],
    };
  }

  flush(): Op<void> {
    return flush(this.#node.file);
  }

  *truncate(size: number, options: TruncateOptions): Op<void> {
    yield* truncate(this.#node.file, this.#header.payloadOffset + alignUp(size, LUKS_SECTOR), options);
    this.#size = this.#payloadSize();
  }

  *amend(options: Readonly<Record<string, unknown>>, progress: (done: number, total: number) => void, force: boolean): Op<void> {
    const { environment, file } = this.#node;
    const release = yield* this.#amending.acquire();
    try {
      const volume = new LuksVolume(cryptoOf(environment), areaOf(file), this.#header);
      yield* amendLuks(environment, volume, this.#keySecret, options, "", force);
    } finally {
      release();
    }
    progress(1, 1);
  }

  // eslint-disable-next-line require-yield
  *specificInfo(): Op<ImageInfoSpecific> {
    return { type: "luks", data: luksInfo(this.#header) };
  }
  blockInfo(): BlockDriverInfo {
    return { encrypted: true };
  }

  *close(): Op<void> {
    if (!this.#node.readOnly) yield* this.flush();
  }
}

function* openLuks(context: OpenContext): Op<MappedImpl> {
  const { node, environment, flags } = context;
  yield* context.openChild("file", "image");
  const keySecret = takeString(context.options, "key-secret");
  const { file } = node;
  const header = decodeLuksHeader(yield* readBytes(file, 0, Math.min(LUKS_HEADER_BYTES, file.size)));
  if (header.payloadOffset > alignUp(file.size, LUKS_SECTOR)) {
    throw new BlockError("ERR_CORRUPT", `LUKS payload offset ${header.payloadOffset} is behind the end of the file`, {
      offset: 104,
    });
  }
  if (flags.noIO) return new Luks(node, header, keySecret, lockedCipher(node));
  const passphrase = yield* passphraseOf(environment, keySecret, "", "open");
  const volume = new LuksVolume(cryptoOf(environment), areaOf(file), header);
  const key = yield* volume.unlock(passphrase);
  const cipher = payloadCipher(volume.sectorCipher(key), "guest");
  key.fill(0);
  return new Luks(node, header, keySecret, cipher);
}

/** `preallocation` is an option of the file the volume is put into. */
function preallocationOf(value: unknown): Preallocation {
  const mode = (value ?? "off") as Preallocation;
  if (!["off", "metadata", "falloc", "full"].includes(mode))
    throw new BlockError("ERR_INVALID_ARGUMENT", `invalid parameter value: ${mode}`);
  // There is no metadata but the header.
  return mode === "metadata" ? "off" : mode;
}

export const luks: Driver = {
  name: "luks",
  category: "format",
  mutableOptions: [],
  runtimeOptions: ["key-secret"],
  strongOptions: ["key-secret"],
  createOptions: [{ name: "size", type: "size", help: "Virtual disk size" }, ...LUKS_CREATE_OPTIONS],
  amendOptions: LUKS_AMEND_OPTIONS,
  probe: (head) => (isLuks(head) ? 100 : 0),
  open: openLuks,

  *create(context: CreateContext): Op<void> {
    const { environment, file, options } = context;
    if (context.size < 0) throw new BlockError("ERR_INVALID_ARGUMENT", "Image creation needs a size parameter");
    const settings = readLuksSettings(options, "");
    const preallocation = preallocationOf(options["preallocation"]);
    const passphrase = yield* luksPassphrase(environment, settings, "");
    const size = luksHeaderBytes(settings) + alignUp(context.size, LUKS_SECTOR);
    if (!Number.isSafeInteger(size))
      throw new BlockError("ERR_TOO_LARGE", "The requested file size is too large", { errno: "EFBIG" });
    yield* truncate(file, size, { preallocation });
    yield* createLuks(environment, settings, passphrase, areaOf(file));
  },

  // eslint-disable-next-line require-yield
  *measure(context: MeasureContext): Op<Measure> {
    const settings = readLuksSettings(context.options, "");
    if (settings.keySecret === undefined)
      throw new BlockError("ERR_INVALID_ARGUMENT", "Parameter 'key-secret' is required for cipher");
    const size = luksHeaderBytes(settings) + alignUp(context.size, LUKS_SECTOR);
    return { required: size, fullyAllocated: size };
  },
};
