/**
 * Encrypted qcow2 images: LUKS (its header in clusters of the image, sectors numbered by their place in the file) and the
 * legacy AES method (sectors numbered by their place in the guest's disk).
 */
import { allocate } from "../../base/allocate.js";
import { BlockError, prefixError } from "../../base/error.js";
import { alignUp } from "../../base/int.js";
import type { Environment, OpenContext } from "../../block/context.js";
import { flush, readBytes, writeGrow } from "../../block/io.js";
import type { Op } from "../../block/op.js";
import { take, takeString } from "../../block/take.js";
import { legacyAes } from "../shared/legacy-aes.js";
import { amendLuks, LUKS_AMEND_OPTIONS } from "../shared/luks-amend.js";
import { createLuks, luksHeaderBytes, luksPassphrase, readLuksSettings, type LuksSettings } from "../shared/luks-create.js";
import { decodeLuksHeader, LUKS_HEADER_BYTES, type LuksHeader } from "../shared/luks-header.js";
import { luksInfo } from "../shared/luks-info.js";
import { LuksVolume, type LuksArea } from "../shared/luks-volume.js";
import { lockedCipher, payloadCipher, type PayloadCipher } from "../shared/payload-cipher.js";
import { cryptoOf, passphraseOf } from "../shared/secrets.js";
import type { CreateOption } from "../../block/context.js";
import type { Node } from "../../block/node.js";
import type { Header } from "./header.js";
import type { Qcow2 } from "./image.js";
import { CryptMethod } from "./layout.js";

/** The encryption of an open image. */
export interface Encryption {
  readonly cipher: PayloadCipher;
  /** null for the legacy method. */
  readonly luks: LuksHeader | null;
  /** Secret the image was opened with. */
  readonly keySecret: string | undefined;
}

const invalid = (message: string): BlockError => new BlockError("ERR_INVALID_ARGUMENT", message);
const PREFIX = "encrypt.";

/** Amend options of the encryption. */
export const ENCRYPT_AMEND_OPTIONS: readonly CreateOption[] = LUKS_AMEND_OPTIONS.map((option) => ({
  ...option,
  name: PREFIX + option.name,
}));

// ---- opening ------------------------------------------------------------------------------------------------------

/** The `encrypt` options, given as one object or with dotted names. */
function takeEncryptOptions(bag: Record<string, unknown>): { format: string | undefined; keySecret: string | undefined } {
  const nested = take(bag, "encrypt");
  const inner: Record<string, unknown> = typeof nested === "object" && nested !== null ? { ...nested } : {};
  for (const name of ["format", "key-secret"]) {
    const dotted = take(bag, PREFIX + name);
    if (dotted !== undefined) inner[name] = dotted;
  }
  const format = takeString(inner, "format");
  const keySecret = takeString(inner, "key-secret");
  for (const name of Object.keys(inner)) throw invalid(`Parameter '${name}' is unexpected`);
  return { format, keySecret };
}

/** Prepares what it takes to read the image's data; null when it is not encrypted. Takes the `encrypt` options. */
export function* openEncryption(context: OpenContext, header: Header): Op<Encryption | null> {
  const { node, environment, flags } = context;
  const { format, keySecret } = takeEncryptOptions(context.options);
  const name = header.cryptMethod === CryptMethod.luks ? "luks" : "aes";
  if (header.cryptMethod !== CryptMethod.luks && header.crypto !== null) {
    throw new BlockError("ERR_CORRUPT", "CRYPTO header extension only expected with LUKS encryption method", { offset: 32 });
  }
  if (header.cryptMethod === CryptMethod.none) {
    if (format !== undefined) throw invalid(`No encryption in image header, but options specified format '${format}'`);
    return null;
  }
  if (format !== undefined && format !== name)
    throw invalid(`Header reported '${name}' encryption format but options specify '${format}'`);
  if (name === "aes") {
    if (flags.noIO) return { cipher: lockedCipher(node), luks: null, keySecret };
    return { cipher: payloadCipher(yield* legacyAes(environment, keySecret, PREFIX), "guest"), luks: null, keySecret };
  }
  const area = areaOf(node.file, header);
  const luks = decodeLuksHeader(yield* area.read(0, LUKS_HEADER_BYTES));
  if (flags.noIO) return { cipher: lockedCipher(node), luks, keySecret };
  const volume = new LuksVolume(cryptoOf(environment), area, luks);
  const key = yield* volume.unlock(yield* passphraseOf(environment, keySecret, PREFIX, "open"));
  const cipher = payloadCipher(volume.sectorCipher(key), "host");
  key.fill(0);
  return { cipher, luks, keySecret };
}

/** The LUKS header's part of the file. */
function areaOf(file: Node, { crypto, clusterBits }: Pick<Header, "crypto" | "clusterBits">): LuksArea {
  if (crypto === null) throw new BlockError("ERR_CORRUPT", "Missing CRYPTO header for crypt method 2", { offset: 32 });
  const clusterSize = 2 ** clusterBits;
  if (!Number.isFinite(crypto.offset) || crypto.offset % clusterSize !== 0) {
    throw new BlockError(
      "ERR_CORRUPT",
      `Encryption header offset '${crypto.offset}' is not a multiple of cluster size '${clusterSize}'`,
    );
  }
  const check = (offset: number, length: number): void => {
    if (offset + length > crypto.length)
      throw new BlockError("ERR_CORRUPT", "Request for data outside of extension header", { offset: crypto.offset + offset });
  };
  return {
    *read(offset, length) {
      check(offset, length);
      return yield* readBytes(file, crypto.offset + offset, length);
    },
    *write(offset, bytes) {
      check(offset, bytes.length);
      yield* writeGrow(file, bytes, crypto.offset + offset);
    },
    flush: () => flush(file),
  };
}

/** The `encrypt` member of the image's specific information. */
export function encryptionInfo(encryption: Encryption | null): Record<string, unknown> | undefined {
  if (encryption === null) return undefined;
  return encryption.luks === null ? { format: "aes" } : { format: "luks", ...luksInfo(encryption.luks) };
}

// ---- creating -----------------------------------------------------------------------------------------------------

export type EncryptSettings = { format: "aes"; keySecret: string | undefined } | { format: "luks"; luks: LuksSettings };

/** Reads `encrypt.*` and the old `encryption` switch; null when there is to be no encryption. */
export function readEncryptSettings(options: Readonly<Record<string, unknown>>): EncryptSettings | null {
  const names = Object.keys(options).filter((name) => name.startsWith(PREFIX) && options[name] !== undefined);
  let format = options["encrypt.format"];
  if (options["encryption"] !== undefined) {
    if (format !== undefined) throw invalid("'encrypt.format' and its alias 'encryption' can't be used at the same time");
    if (options["encryption"] === true) format = "aes";
  }
  if (format === undefined) {
    if (names.length > 0) throw invalid("Parameter 'encrypt.format' is missing");
    return null;
  }
  if (format === "luks") return { format, luks: readLuksSettings(options, PREFIX) };
  if (format !== "aes") throw invalid(`Parameter 'format' does not accept value '${String(format)}'`);
  for (const name of names) {
    if (name !== "encrypt.format" && name !== "encrypt.key-secret") throw invalid(`Parameter '${name}' is unexpected`);
  }
  const keySecret = options["encrypt.key-secret"];
  return { format, keySecret: keySecret === undefined ? undefined : String(keySecret) };
}

/** Bytes of the file that the encryption's header takes, in whole clusters. */
export function encryptionOverhead(settings: EncryptSettings | null, clusterSize: number): number {
  if (settings === null || settings.format === "aes") return 0;
  if (settings.luks.keySecret === undefined) throw invalid("Parameter 'encrypt.key-secret' is required for cipher");
  return alignUp(luksHeaderBytes(settings.luks), clusterSize);
}

/** The passphrase, before anything is written: a missing secret must not leave half an image behind. */
export function* encryptPassphrase(environment: Environment, settings: EncryptSettings): Op<Uint8Array> {
  cryptoOf(environment);
  if (settings.format === "luks") return yield* luksPassphrase(environment, settings.luks, PREFIX);
  return yield* passphraseOf(environment, settings.keySecret, PREFIX, "create");
}

/** Makes an empty image an encrypted one. */
export function* setUpEncryption(image: Qcow2, settings: EncryptSettings, passphrase: Uint8Array): Op<void> {
  const { clusterBits, clusterSize } = image;
  let crypto: Header["crypto"] = null;
  const release = yield* image.lock.acquire();
  try {
    yield* image.beginModifying();
    if (settings.format === "luks") {
      const length = luksHeaderBytes(settings.luks);
      const clusters = Math.ceil(length / clusterSize);
      const offset = yield* image.allocator.allocate(clusters);
      crypto = { offset, length };
      try {
        for (let at = 0; at < clusters * clusterSize; at += clusterSize)
          yield* writeGrow(image.file, allocate(clusterSize), offset + at);
        yield* createLuks(image.node.environment, settings.luks, passphrase, areaOf(image.file, { crypto, clusterBits }));
      } catch (error) {
        throw prefixError("Could not write encryption header: ", error);
      }
      // The header must not name clusters that have no reference on disk.
      yield* image.allocator.writeBack();
      yield* image.barrier();
    }
    yield* image.updateHeader({ crypto, cryptMethod: settings.format === "luks" ? CryptMethod.luks : CryptMethod.aes });
    yield* image.barrier();
  } finally {
    release();
  }
}

// ---- amending -----------------------------------------------------------------------------------------------------

/** Adds or erases key slots: options `encrypt.state`, `encrypt.new-secret` … */
export function* amendEncryption(
  image: Qcow2,
  encryption: Encryption | null,
  options: Readonly<Record<string, unknown>>,
  force: boolean,
): Op<void> {
  if (encryption === null)
    throw new BlockError("ERR_INVALID_ARGUMENT", "Can't amend encryption options - encryption not present");
  if (encryption.luks === null)
    throw new BlockError("ERR_UNSUPPORTED", "Only LUKS encryption options can be amended", { errno: "ENOTSUP" });
  const { environment } = image.node;
  const release = yield* image.lock.acquire();
  try {
    yield* image.beginModifying();
    const volume = new LuksVolume(cryptoOf(environment), areaOf(image.file, image.header), encryption.luks);
    yield* amendLuks(environment, volume, encryption.keySecret, options, PREFIX, force);
  } finally {
    release();
  }
}
