/** New LUKS volumes: options with QEMU's names, defaults and messages; header and first key slot. */
import { BlockError } from "../../base/error.js";
import type { CreateOption, Environment } from "../../block/context.js";
import type { Op } from "../../block/op.js";
import { secureRandom } from "../../codec/crypto/af.js";
import { isCipherName, isHashName, type HashName } from "../../codec/crypto/crypto.js";
import type { CipherMode, IvGenerator } from "../../codec/crypto/sector-cipher.js";
import {
  checkEssiv,
  cipherKeyBytes,
  LUKS_KEY_ALIGNMENT,
  LUKS_SLOTS,
  LUKS_STRIPES,
  payloadOffsetOf,
  slotArea,
  type LuksCipher,
  type LuksHeader,
} from "./luks-header.js";
import { iterationsFor, LuksVolume, type LuksArea } from "./luks-volume.js";
import { cryptoOf, passphraseOf } from "./secrets.js";
import { randomUuid, uuidText } from "./uuid.js";

export interface LuksSettings {
  keySecret: string | undefined;
  cipher: LuksCipher;
  mode: CipherMode;
  ivgen: IvGenerator;
  ivgenHash: HashName | null;
  hash: HashName;
  /** Milliseconds one key derivation shall take. */
  iterTime: number;
}

export const DEFAULT_ITER_TIME = 2000;

/** The create options of LUKS; `prefix` as in "encrypt.cipher-alg". */
export const LUKS_CREATE_OPTIONS: readonly CreateOption[] = [
  { name: "key-secret", type: "string", help: "ID of the secret that provides the keyslot passphrase" },
  { name: "cipher-alg", type: "string", help: "Name of encryption cipher algorithm" },
  { name: "cipher-mode", type: "string", help: "Name of encryption cipher mode" },
  { name: "ivgen-alg", type: "string", help: "Name of IV generator algorithm" },
  { name: "ivgen-hash-alg", type: "string", help: "Name of IV generator hash algorithm" },
  { name: "hash-alg", type: "string", help: "Name of encryption hash algorithm" },
  { name: "iter-time", type: "number", help: "Time to spend in PBKDF in milliseconds" },
];

const invalid = (message: string): BlockError => new BlockError("ERR_INVALID_ARGUMENT", message);

/** Checks the options whose names begin with `prefix`. */
export function readLuksSettings(options: Readonly<Record<string, unknown>>, prefix: string): LuksSettings {
  const given = (name: string): string | undefined => {
    const value = options[prefix + name];
    return value === undefined ? undefined : String(value);
  };
  const pick = <T extends string>(name: string, values: readonly T[], fallback: T): T => {
    const text = given(name) ?? fallback;
    const found = values.find((value) => value === text);
    if (found === undefined) throw invalid(`Parameter '${name}' does not accept value '${text}'`);
    return found;
  };
  const hashOf = (name: string): HashName | null => {
    const text = given(name);
    if (text === undefined) return null;
    if (!isHashName(text)) throw invalid(`Parameter '${name}' does not accept value '${text}'`);
    return text;
  };
  const cipher = given("cipher-alg") ?? "aes-256";
  if (!isCipherName(cipher)) {
    if (["cast5-128", "des", "3des"].includes(cipher))
      throw new BlockError("ERR_UNSUPPORTED", `Algorithm '${cipher}' not supported`);
    throw invalid(`Parameter 'cipher-alg' does not accept value '${cipher}'`);
  }
  const ivgen = pick<IvGenerator>("ivgen-alg", ["plain", "plain64", "essiv"], "plain64");
  const ivgenHash = hashOf("ivgen-hash-alg") ?? (ivgen === "essiv" ? "sha256" : null);
  if (ivgen === "essiv") checkEssiv(cipher, ivgenHash!);
  const iterTime = options[`${prefix}iter-time`] ?? DEFAULT_ITER_TIME;
  if (typeof iterTime !== "number" || !(iterTime > 0))
    throw invalid("Parameter 'iter-time' expects a positive number of milliseconds");
  return {
    keySecret: given("key-secret"),
    cipher,
    mode: pick<CipherMode>("cipher-mode", ["ecb", "cbc", "ctr", "xts"], "xts"),
    ivgen,
    ivgenHash,
    hash: hashOf("hash-alg") ?? "sha256",
    iterTime,
  };
}

function masterKeyBytes(settings: LuksSettings): number {
  return cipherKeyBytes(settings.cipher) * (settings.mode === "xts" ? 2 : 1);
}

/** Bytes in front of the payload of such a volume. */
export function luksHeaderBytes(settings: LuksSettings): number {
  return payloadOffsetOf(masterKeyBytes(settings));
}

/** The passphrase for a new volume; asked for before anything is written. */
export function luksPassphrase(environment: Environment, settings: LuksSettings, prefix: string): Op<Uint8Array> {
  return passphraseOf(environment, settings.keySecret, prefix, "create");
}

/** Makes a volume in `area`, which has room for `luksHeaderBytes`. */
export function* createLuks(
  environment: Environment,
  settings: LuksSettings,
  passphrase: Uint8Array,
  area: LuksArea,
): Op<LuksVolume> {
  const crypto = cryptoOf(environment);
  const keyBytes = masterKeyBytes(settings);
  const masterKey = new Uint8Array(keyBytes);
  secureRandom(masterKey);
  const salt = new Uint8Array(32);
  secureRandom(salt);
  const header: LuksHeader = {
    cipher: settings.cipher,
    mode: settings.mode,
    ivgen: settings.ivgen,
    ivgenHash: settings.ivgenHash,
    hash: settings.hash,
    payloadOffset: payloadOffsetOf(keyBytes),
    keyBytes,
    digest: new Uint8Array(20),
    salt,
    // An eighth, as cryptsetup has it: with all slots in use their checks together take about as long as one derivation.
    iterations: yield* iterationsFor(crypto, settings.hash, 20, settings.iterTime / 8),
    uuid: uuidText(randomUuid()),
    slots: Array.from({ length: LUKS_SLOTS }, (_, i) => ({
      active: false,
      iterations: 0,
      salt: new Uint8Array(32),
      keyOffset: LUKS_KEY_ALIGNMENT + i * slotArea(keyBytes),
      stripes: LUKS_STRIPES,
    })),
  };
  const volume = new LuksVolume(crypto, area, header);
  header.digest = yield* volume.digestOf(masterKey);
  yield* volume.fillSlot(0, passphrase, masterKey, settings.iterTime);
  masterKey.fill(0);
  return volume;
}
