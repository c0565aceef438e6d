/**
 * Encrypted Apple disk images ("encrcdsa", version 2): a header with the keys, wrapped by a passphrase, and the plain image behind it
 * in blocks of AES-CBC whose first vector is an HMAC of the block's number. Apple has published no description; this is after what
 * others found out (docs/formats/dmg.md).
 */
import { allocate } from "../../base/allocate.js";
import { decodeText, readU64BE, startsWith, viewOf } from "../../base/bytes.js";
import { BlockError } from "../../base/error.js";
import { alignDown, alignUp, isPowerOfTwo, MiB } from "../../base/int.js";
import type { Driver, InterceptImpl } from "../../block/driver.js";
import { READ_ONLY } from "../../block/flags.js";
import { readBytes } from "../../block/io.js";
import { Node } from "../../block/node.js";
import type { Op } from "../../block/op.js";
import type { BlockCipher, Crypto } from "../../codec/crypto/crypto.js";
import { hmac } from "../../codec/crypto/hmac.js";
import { tripleDesDecrypt } from "../../codec/crypto/triple-des.js";
import { cryptoOf, deriveKey, MAX_KEY_ITERATIONS } from "../shared/secrets.js";

const MAGIC = "encrcdsa";
const HEADER_BYTES = 264;
const AES_BLOCK = 16;
const SECTOR = 512;
const HMAC_KEY_BYTES = 20;
/** What follows the two keys before the padding. */
const KEY_MARK = "CKIE\0";
const MAX_BLOCK: number = MiB;
/** Bytes decrypted at a time. */
const PIECE: number = MiB;

/** Numbers that Apple's CSSM has for algorithms and modes. */
const Cssm = { pbkdf2: 103, tripleDes: 17, aes: 0x80000001, cbcPadded: 6, pkcs7: 7 } as const;

const at = {
  version: 8,
  keyBits: 24,
  hmacBits: 32,
  blockSize: 52,
  dataSize: 56,
  dataOffset: 64,
  kdf: 96,
  iterations: 104,
  saltLength: 108,
  salt: 112,
  vectorLength: 144,
  vector: 148,
  wrapBits: 180,
  wrapAlgorithm: 184,
  wrapPadding: 188,
  wrapMode: 192,
  wrappedLength: 196,
  wrapped: 200,
} as const;

interface Header {
  keyBytes: number;
  blockSize: number;
  dataSize: number;
  dataOffset: number;
  iterations: number;
  salt: Uint8Array;
  vector: Uint8Array;
  wrapBytes: number;
  wrapAlgorithm: number;
  wrapped: Uint8Array;
}

export const isEncrypted = (head: Uint8Array): boolean => startsWith(head, MAGIC);

const unsupported = (what: string): BlockError => new BlockError("ERR_UNSUPPORTED", `Encrypted DMG: ${what} is not supported`);
const corrupt = (what: string): BlockError => new BlockError("ERR_CORRUPT", `Encrypted DMG: ${what}`);

function parseHeader(bytes: Uint8Array, fileSize: number): Header {
  const view = viewOf(bytes);
  const u32 = (place: number): number => view.getUint32(place);
  if (u32(at.version) !== 2) throw unsupported(`version ${u32(at.version)}`);
  if (u32(at.keyBits) !== 128 && u32(at.keyBits) !== 256) throw unsupported(`AES with a key of ${u32(at.keyBits)} bits`);
  if (u32(at.hmacBits) !== HMAC_KEY_BYTES * 8) throw unsupported(`an HMAC key of ${u32(at.hmacBits)} bits`);
  if (u32(at.kdf) !== Cssm.pbkdf2) throw unsupported(`key derivation ${u32(at.kdf)}`);
  if (u32(at.wrapMode) !== Cssm.cbcPadded || u32(at.wrapPadding) !== Cssm.pkcs7)
    throw unsupported(`key wrapping of mode ${u32(at.wrapMode)} and padding ${u32(at.wrapPadding)}`);
  const header: Header = {
    keyBytes: u32(at.keyBits) / 8,
    blockSize: u32(at.blockSize),
    dataSize: readU64BE(view, at.dataSize),
    dataOffset: readU64BE(view, at.dataOffset),
    iterations: u32(at.iterations),
    salt: bytes.subarray(at.salt, at.salt + Math.min(32, u32(at.saltLength))),
    vector: bytes.subarray(at.vector, at.vector + Math.min(32, u32(at.vectorLength))),
    wrapBytes: u32(at.wrapBits) / 8,
    wrapAlgorithm: u32(at.wrapAlgorithm),
    wrapped: bytes.subarray(at.wrapped, at.wrapped + Math.min(64, u32(at.wrappedLength))),
  };
  const { blockSize, dataSize, dataOffset, iterations, wrapped } = header;
  if (!isPowerOfTwo(blockSize) || blockSize < SECTOR || blockSize > MAX_BLOCK) throw corrupt(`blocks of ${blockSize} bytes`);
  if (dataOffset > fileSize || alignUp(dataSize, AES_BLOCK) > fileSize - dataOffset)
    throw corrupt("the data lies outside of the file");
  if (dataSize / blockSize > 0xffffffff) throw corrupt("more blocks than it can number");
  if (wrapped.length === 0 || wrapped.length % 8 !== 0) throw corrupt(`wrapped keys of ${wrapped.length} bytes`);
  if (iterations === 0 || iterations > MAX_KEY_ITERATIONS) {
    throw new BlockError(
      iterations === 0 ? "ERR_CORRUPT" : "ERR_TOO_LARGE",
      `Encrypted DMG: ${iterations} PBKDF2 iterations; 1 to ${MAX_KEY_ITERATIONS} are allowed`,
    );
  }
  return header;
}

/** CBC over the blocks of a cipher that decrypts them one by one. @param vector as long as a block */
function cbcDecrypt(decrypt: BlockCipher["decrypt"], vector: Uint8Array, from: Uint8Array): Uint8Array {
  const into = allocate(from.length);
  decrypt(from, into);
  for (let i = 0; i < into.length; i++) into[i]! ^= i < vector.length ? vector[i]! : from[i - vector.length]!;
  return into;
}

function unwrapper(crypto: Crypto, { wrapAlgorithm, wrapBytes }: Header, key: Uint8Array): [BlockCipher["decrypt"], number] {
  if (wrapAlgorithm === Cssm.tripleDes && wrapBytes === 24) return [(from, into) => tripleDesDecrypt(key, from, into), 8];
  if (wrapAlgorithm === Cssm.aes && wrapBytes === 16) return [crypto.blockCipher("aes-128", key).decrypt, AES_BLOCK];
  if (wrapAlgorithm === Cssm.aes && wrapBytes === 24) return [crypto.blockCipher("aes-192", key).decrypt, AES_BLOCK];
  if (wrapAlgorithm === Cssm.aes && wrapBytes === 32) return [crypto.blockCipher("aes-256", key).decrypt, AES_BLOCK];
  throw unsupported(`key wrapping ${wrapAlgorithm} with ${wrapBytes * 8} bits`);
}

/** The key of the data, then that of the vectors. */
function* unwrapKeys(crypto: Crypto, header: Header, password: Uint8Array): Op<[Uint8Array, Uint8Array]> {
  const { keyBytes, salt, iterations, wrapBytes, wrapped } = header;
  if (wrapBytes < 1 || wrapBytes > 32) throw unsupported(`key wrapping with ${wrapBytes * 8} bits`);
  const key = yield* deriveKey(crypto, { hash: "sha1", password, salt, iterations, length: wrapBytes });
  const [decrypt, block] = unwrapper(crypto, header, key);
  if (wrapped.length % block !== 0) throw corrupt(`wrapped keys of ${wrapped.length} bytes`);
  // The vectors of images are as long as those of triple DES, whatever wraps the keys.
  const vector = new Uint8Array(block);
  vector.set(header.vector.subarray(0, block));
  const plain = cbcDecrypt(decrypt, vector, wrapped);
  const end = keyBytes + HMAC_KEY_BYTES;
  if (decodeText(plain.subarray(end, end + KEY_MARK.length)) !== KEY_MARK)
    throw new BlockError("ERR_ENCRYPTED", "Invalid password, cannot unlock the image", { errno: "EPERM" });
  return [plain.slice(0, keyBytes), plain.slice(keyBytes, end)];
}

const driver: Driver = {
  name: "dmg-plain",
  category: "filter",
  open() {
    throw new BlockError("ERR_INVALID_ARGUMENT", "A decrypted image belongs to its file");
  },
};

/** A read-only node with the plain content of the file of `image`; it needs no closing. */
export function* openEncrypted(image: Node, password: Uint8Array): Op<Node> {
  const { file, environment } = image;
  const header = parseHeader(yield* readBytes(file, 0, HEADER_BYTES), file.size);
  const crypto = cryptoOf(environment);
  const [dataKey, vectorKey] = yield* unwrapKeys(crypto, header, password);
  const cipher = crypto.blockCipher(header.keyBytes === 16 ? "aes-128" : "aes-256", dataKey);
  const { blockSize, dataSize, dataOffset } = header;

  /** Plain bytes of the blocks from `start`, where one begins; what they lack of a whole one is not stored. */
  function* decrypted(start: number, length: number): Op<Uint8Array> {
    const bytes = yield* readBytes(file, dataOffset + start, alignUp(length, AES_BLOCK));
    const number = new Uint8Array(4);
    for (let from = 0; from < bytes.length; from += blockSize) {
      viewOf(number).setUint32(0, (start + from) / blockSize);
      const vector = hmac(crypto, "sha1", vectorKey, number).subarray(0, AES_BLOCK);
      bytes.set(cbcDecrypt(cipher.decrypt, vector, bytes.subarray(from, from + blockSize)), from);
    }
    return bytes;
  }

  const impl: InterceptImpl = {
    shape: "intercept",
    size: dataSize,
    *read(into: Uint8Array, offset: number): Op<void> {
      for (let done = 0; done < into.length;) {
        const start = alignDown(offset + done, blockSize);
        const end = Math.min(offset + into.length, start + PIECE);
        const plain = yield* decrypted(start, end - start);
        into.set(plain.subarray(offset + done - start, end - start), done);
        done = end - offset;
      }
    },
    // eslint-disable-next-line require-yield
    *flush(): Op<void> {},
    // eslint-disable-next-line require-yield
    *close(): Op<void> {},
  };
  const node = new Node(environment, driver, {}, READ_ONLY);
  node.givenName = file.filename;
  node.impl = impl;
  return node;
}
