/** The LUKS version 1 header (on-disk format 1.2.3 of cryptsetup): decoding with every check, and encoding. */
import { BlockError } from "../../base/error.js";
import { encodeText, readText, startsWith, viewOf } from "../../base/bytes.js";
import { alignUp } from "../../base/int.js";
import {
  CIPHER_KEY_BYTES,
  HASH_BYTES,
  isCipherName,
  isHashName,
  type CipherName,
  type HashName,
} from "../../codec/crypto/crypto.js";
import type { CipherMode, IvGenerator } from "../../codec/crypto/sector-cipher.js";

export const LUKS_SECTOR = 512;
export const LUKS_HEADER_BYTES = 592;
export const LUKS_SLOTS = 8;
/** Anti-forensic stripes of every key slot. */
export const LUKS_STRIPES = 4000;
/** Key material begins here; each slot's is a multiple of it. */
export const LUKS_KEY_ALIGNMENT = 4096;
const SALT_BYTES = 32;
const DIGEST_BYTES = 20;
const UUID_BYTES = 40;
const NAME_BYTES = 32;
const SLOT_AT = 208;
const SLOT_BYTES = 48;
const ENABLED = 0x00ac71f3;
const DISABLED = 0x0000dead;
const MAGIC: Uint8Array = Uint8Array.of(0x4c, 0x55, 0x4b, 0x53, 0xba, 0xbe);

/** Known to the header, whether or not this build can compute it. */
export type LuksCipher = CipherName | "cast5-128";

export interface LuksSlot {
  active: boolean;
  iterations: number;
  salt: Uint8Array;
  /** Byte offset of the key material from the header's start. */
  keyOffset: number;
  stripes: number;
}

export interface LuksHeader {
  cipher: LuksCipher;
  mode: CipherMode;
  ivgen: IvGenerator;
  /** As the header has it, whether or not the generator uses it. */
  ivgenHash: HashName | null;
  hash: HashName;
  /** Byte offset of the guest's data from the header's start. */
  payloadOffset: number;
  /** Bytes of the master key. */
  keyBytes: number;
  digest: Uint8Array;
  salt: Uint8Array;
  /** PBKDF2 iterations behind `digest`. */
  iterations: number;
  uuid: string;
  slots: LuksSlot[];
}

const bad = (message: string, offset: number): BlockError => new BlockError("ERR_CORRUPT", message, { offset });
const unsupported = (message: string, offset: number): BlockError =>
  new BlockError("ERR_UNSUPPORTED", message, { errno: "EINVAL", offset });

/** Whether the bytes begin a LUKS volume of the version we know. */
export function isLuks(head: Uint8Array): boolean {
  return head.length >= 8 && startsWith(head, MAGIC) && viewOf(head).getUint16(6) === 1;
}

/** Bytes the key material of a slot takes in the file. */
export function slotArea(keyBytes: number): number {
  return alignUp(keyBytes * LUKS_STRIPES, LUKS_KEY_ALIGNMENT);
}
/** Where guest data begins in a new volume. */
export function payloadOffsetOf(keyBytes: number): number {
  return LUKS_KEY_ALIGNMENT + LUKS_SLOTS * slotArea(keyBytes);
}

/** Decodes and checks the first `LUKS_HEADER_BYTES` bytes of a volume. What the file must hold besides is the caller's check. */
export function decodeLuksHeader(bytes: Uint8Array): LuksHeader {
  if (bytes.length < LUKS_HEADER_BYTES || !startsWith(bytes, MAGIC)) {
    throw new BlockError("ERR_NOT_THIS_FORMAT", "Volume is not in LUKS format");
  }
  const view = viewOf(bytes);
  const version = view.getUint16(6);
  if (version !== 1) throw unsupported(`LUKS version ${version} is not supported`, 6);
  const name = nameAt(bytes, 8, "cipher name");
  const spec = nameAt(bytes, 40, "cipher mode");
  const hashName = nameAt(bytes, 72, "hash spec");
  const payloadOffset = view.getUint32(104) * LUKS_SECTOR;
  const keyBytes = view.getUint32(108);
  const iterations = view.getUint32(164);
  if (payloadOffset < LUKS_KEY_ALIGNMENT) throw bad("LUKS payload is overlapping with the header", 104);
  if (iterations === 0) throw bad("LUKS key iteration count is zero", 164);
  const slots = decodeSlots(bytes, view, keyBytes, payloadOffset);
  const { mode, ivgen, ivgenHash } = parseMode(spec);
  const cipher = cipherOf(name, mode, keyBytes);
  if (!isHashName(hashName)) throw unsupported(`Hash algorithm ${hashName} not supported`, 72);
  if (ivgen === "essiv") {
    if (ivgenHash === null) throw bad("Missing IV generator hash specification", 40);
    checkEssiv(cipher, ivgenHash);
  }
  return {
    cipher,
    mode,
    ivgen,
    ivgenHash,
    hash: hashName,
    payloadOffset,
    keyBytes,
    digest: bytes.slice(112, 112 + DIGEST_BYTES),
    salt: bytes.slice(132, 132 + SALT_BYTES),
    iterations,
    uuid: readText(bytes.subarray(168, 168 + UUID_BYTES)),
    slots,
  };
}

function nameAt(bytes: Uint8Array, at: number, what: string): string {
  const field = bytes.subarray(at, at + NAME_BYTES);
  if (!field.includes(0)) throw bad(`LUKS header ${what} is not NUL terminated`, at);
  return readText(field);
}

function decodeSlots(bytes: Uint8Array, view: DataView, keyBytes: number, payloadOffset: number): LuksSlot[] {
  const slots: LuksSlot[] = [];
  const area = slotArea(keyBytes);
  for (let i = 0; i < LUKS_SLOTS; i++) {
    const at = SLOT_AT + i * SLOT_BYTES;
    const state = view.getUint32(at);
    const slot: LuksSlot = {
      active: state === ENABLED,
      iterations: view.getUint32(at + 4),
      salt: bytes.slice(at + 8, at + 8 + SALT_BYTES),
      keyOffset: view.getUint32(at + 40) * LUKS_SECTOR,
      stripes: view.getUint32(at + 44),
    };
    if (slot.stripes !== LUKS_STRIPES)
      throw bad(`Keyslot ${i} is corrupted (stripes ${slot.stripes} != ${LUKS_STRIPES})`, at + 44);
    if (state !== ENABLED && state !== DISABLED) throw bad(`Keyslot ${i} state (active/disable) is corrupted`, at);
    if (slot.active && slot.iterations === 0) throw bad(`Keyslot ${i} iteration count is zero`, at + 4);
    if (slot.keyOffset < LUKS_KEY_ALIGNMENT) throw bad(`Keyslot ${i} is overlapping with the LUKS header`, at + 40);
    if (slot.keyOffset + area > payloadOffset) throw bad(`Keyslot ${i} is overlapping with the encrypted payload`, at + 40);
    slots.push(slot);
  }
  for (let i = 0; i < LUKS_SLOTS; i++) {
    for (let j = i + 1; j < LUKS_SLOTS; j++) {
      const distance = Math.abs(slots[i]!.keyOffset - slots[j]!.keyOffset);
      if (distance < area) throw bad(`Keyslots ${i} and ${j} are overlapping in the header`, SLOT_AT + i * SLOT_BYTES + 40);
    }
  }
  return slots;
}

const MODES: readonly CipherMode[] = ["ecb", "cbc", "ctr", "xts"];
const GENERATORS: readonly IvGenerator[] = ["plain", "plain64", "essiv"];

/** Takes "<mode>-<generator>[:<hash>]" apart. */
function parseMode(spec: string): { mode: CipherMode; ivgen: IvGenerator; ivgenHash: HashName | null } {
  const dash = spec.indexOf("-");
  if (dash < 0) throw bad(`Unexpected cipher mode string format '${spec}'`, 40);
  const modeName = spec.slice(0, dash);
  const [generatorName = "", ...rest] = spec.slice(dash + 1).split(":");
  const hashName = rest.length === 0 ? null : rest.join(":");
  if (hashName !== null && !isHashName(hashName)) throw unsupported(`Hash algorithm ${hashName} not supported`, 40);
  const mode = MODES.find((known) => known === modeName);
  if (mode === undefined) throw unsupported(`Cipher mode ${modeName} not supported`, 40);
  const ivgen = GENERATORS.find((known) => known === generatorName);
  if (ivgen === undefined) throw unsupported(`IV generator ${generatorName} not supported`, 40);
  return { mode, ivgen, ivgenHash: hashName };
}

function cipherOf(name: string, mode: CipherMode, keyBytes: number): LuksCipher {
  const half = mode === "xts" ? keyBytes / 2 : keyBytes;
  const full = `${name}-${half * 8}`;
  if (["aes", "serpent", "twofish"].includes(name) && isCipherName(full)) return full;
  if (full === "cast5-128") return full;
  throw unsupported(`Algorithm ${name} with key size ${Math.floor(half)} bytes not supported`, 8);
}

/** ESSIV encrypts with a key as long as the hash's digest: the cipher must have that size. */
export function checkEssiv(cipher: LuksCipher, hash: HashName): void {
  if (cipher === "cast5-128") throw unsupported("Cipher cast5-128 not supported with essiv", 40);
  const name = cipher.slice(0, cipher.indexOf("-"));
  const size = HASH_BYTES[hash];
  if (isCipherName(`${name}-${size * 8}`)) return;
  const label = name === "aes" ? "AES" : name === "serpent" ? "Serpent" : "Twofish";
  throw unsupported(`No ${label} cipher with key size ${size} available`, 40);
}

/** Bytes of the key of one block cipher (half the master key's with xts). */
export function cipherKeyBytes(cipher: LuksCipher): number {
  return cipher === "cast5-128" ? 16 : CIPHER_KEY_BYTES[cipher];
}

/** The header's bytes. */
export function encodeLuksHeader(header: LuksHeader): Uint8Array {
  const bytes = new Uint8Array(LUKS_HEADER_BYTES);
  const view = viewOf(bytes);
  bytes.set(MAGIC);
  view.setUint16(6, 1);
  bytes.set(encodeText(header.cipher.slice(0, header.cipher.indexOf("-"))), 8);
  bytes.set(encodeText(`${header.mode}-${header.ivgen}${header.ivgenHash === null ? "" : `:${header.ivgenHash}`}`), 40);
  bytes.set(encodeText(header.hash), 72);
  view.setUint32(104, header.payloadOffset / LUKS_SECTOR);
  view.setUint32(108, header.keyBytes);
  bytes.set(header.digest, 112);
  bytes.set(header.salt, 132);
  view.setUint32(164, header.iterations);
  bytes.set(encodeText(header.uuid).subarray(0, UUID_BYTES), 168);
  header.slots.forEach((slot, i) => {
    const at = SLOT_AT + i * SLOT_BYTES;
    view.setUint32(at, slot.active ? ENABLED : DISABLED);
    view.setUint32(at + 4, slot.iterations);
    bytes.set(slot.salt, at + 8);
    view.setUint32(at + 40, slot.keyOffset / LUKS_SECTOR);
    view.setUint32(at + 44, slot.stripes);
  });
  return bytes;
}
