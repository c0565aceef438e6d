/** The qcow driver: version 1 of QEMU's copy-on-write format. */
import { BlockError, errnoError } from "../../base/error.js";
import { readText } from "../../base/bytes.js";
import { alignUp } from "../../base/int.js";
import type { CreateContext, OpenContext } from "../../block/context.js";
import type { Driver, MappedImpl } from "../../block/driver.js";
import { readBytes, truncate, writeGrow } from "../../block/io.js";
import type { Op } from "../../block/op.js";
import { take, takeString } from "../../block/take.js";
import { legacyAes } from "../shared/legacy-aes.js";
import { lockedCipher, payloadCipher, type PayloadCipher } from "../shared/payload-cipher.js";
import { cryptoOf, passphraseOf } from "../shared/secrets.js";
import { CryptMethod, decodeQcowHeader, encodeQcowHeader, isQcow, l1EntriesOf, QCOW_HEADER_BYTES } from "./header.js";
import { Qcow } from "./image.js";

const invalid = (message: string): BlockError => new BlockError("ERR_INVALID_ARGUMENT", message);

function* openQcow(context: OpenContext): Op<MappedImpl> {
  const { node, environment } = context;
  yield* context.openChild("file", "image");
  const { file } = node;
  const header = decodeQcowHeader(yield* readBytes(file, 0, Math.min(QCOW_HEADER_BYTES, file.size)));
  const cipher = yield* openCipher(context, header.cryptMethod);
  let backing: string | null = null;
  if (header.backingOffset !== 0) {
    if (header.backingOffset > file.size) throw errnoError("EIO", undefined, { node: node.nodeName, offset: 8 });
    const name = readText(yield* readBytes(file, header.backingOffset, header.backingLength));
    if (name !== "") backing = name;
  }
  return new Qcow(node, header, backing, cipher, environment.memoryBudget);
}

function* openCipher(context: OpenContext, method: number): Op<PayloadCipher | null> {
  const { node, environment, flags, options } = context;
  const nested = take(options, "encrypt");
  const inner: Record<string, unknown> = typeof nested === "object" && nested !== null ? { ...nested } : {};
  for (const name of ["format", "key-secret"]) inner[name] ??= take(options, `encrypt.${name}`);
  const format = takeString(inner, "format");
  const keySecret = takeString(inner, "key-secret");
  for (const name of Object.keys(inner)) throw invalid(`Parameter '${name}' is unexpected`);
  if (method === CryptMethod.none) {
    if (format !== undefined) throw invalid(`No encryption in image header, but options specified format '${format}'`);
    return null;
  }
  if (format !== undefined && format !== "aes")
    throw invalid(`Header reported 'aes' encryption format but options specify '${format}'`);
  return flags.noIO ? lockedCipher(node) : payloadCipher(yield* legacyAes(environment, keySecret, "encrypt."), "guest");
}

/** Whether to encrypt: `encrypt.format=aes` or the old `encryption=on`. */
function wantsEncryption(options: Readonly<Record<string, unknown>>): boolean {
  const format = options["encrypt.format"];
  if (options["encryption"] !== undefined && format !== undefined)
    throw invalid("'encrypt.format' and its alias 'encryption' can't be used at the same time");
  if (options["encryption"] === true || format === "aes") return true;
  if (format === "luks") throw new BlockError("ERR_UNSUPPORTED", "Unsupported encryption format", { errno: "EINVAL" });
  if (format !== undefined) throw invalid(`Parameter 'format' does not accept value '${String(format)}'`);
  if (options["encrypt.key-secret"] !== undefined) throw invalid("Parameter 'encrypt.format' is missing");
  return false;
}

function* createQcow(context: CreateContext): Op<void> {
  const { file, options, environment } = context;
  if (context.size < 0) throw invalid("Image creation needs a size parameter");
  if (context.size === 0) throw invalid("Image size is too small, cannot be zero length");
  const encrypted = wantsEncryption(options);
  if (encrypted) {
    cryptoOf(environment);
    const secret = options["encrypt.key-secret"];
    yield* passphraseOf(environment, secret === undefined ? undefined : String(secret), "encrypt.", "create");
  }
  const given = options["backing_file"];
  const backing = typeof given === "string" && given !== "" ? given : null;
  // Small clusters copy less of a backing file; large ones need fewer tables.
  const clusterBits = backing === null ? 12 : 9;
  const l2Bits = backing === null ? 9 : 12;
  const size = alignUp(context.size, 512);
  const header = encodeQcowHeader(size, clusterBits, l2Bits, encrypted ? CryptMethod.aes : CryptMethod.none, backing);
  const l1Bytes = alignUp(l1EntriesOf(decodeQcowHeader(header)) * 8, 512);
  yield* truncate(file, 0, { preallocation: "off" });
  // The table reads as zeros: nothing was there before.
  yield* truncate(file, header.length + l1Bytes, { preallocation: "off" });
  yield* writeGrow(file, header, 0);
}

export const qcow: Driver = {
  name: "qcow",
  category: "format",
  mutableOptions: [],
  supportsBacking: true,
  runtimeOptions: ["encrypt"],
  strongOptions: ["encrypt.key-secret"],
  createOptions: [
    { name: "size", type: "size", help: "Virtual disk size" },
    { name: "backing_file", type: "string", help: "File name of a base image" },
    { name: "backing_fmt", type: "string", help: "Format of the backing image" },
    {
      name: "encryption",
      type: "bool",
      help: "Encrypt the image with format 'aes'. (Deprecated in favor of encrypt.format=aes)",
    },
    { name: "encrypt.format", type: "string", help: "Encrypt the image, format choices: 'aes'" },
    { name: "encrypt.key-secret", type: "string", help: "ID of the secret that provides the AES encryption key" },
  ],
  probe: (head) => (isQcow(head) ? 100 : 0),
  open: openQcow,
  create: createQcow,
};
