/**
 * The key slots of a LUKS volume: finding the master key with a passphrase, filling and erasing slots.
 *
 * Every slot holds the same master key, split into stripes and encrypted with a key derived from its passphrase; only the
 * digest in the header tells whether a derived key was the right one.
 */
import { BlockError } from "../../base/error.js";
import { equalBytes } from "../../base/bytes.js";
import { alignUp } from "../../base/int.js";
import type { Op } from "../../block/op.js";
import { afMerge, afSplit, secureRandom } from "../../codec/crypto/af.js";
import type { Crypto, HashName } from "../../codec/crypto/crypto.js";
import { makeSectorCipher, type SectorCipher } from "../../codec/crypto/sector-cipher.js";
import { encodeLuksHeader, LUKS_HEADER_BYTES, LUKS_SECTOR, LUKS_SLOTS, slotArea, type LuksHeader } from "./luks-header.js";
import { deriveKey, MAX_KEY_ITERATIONS } from "./secrets.js";

/** The bytes in front of the payload, wherever a format keeps them. Offsets count from the LUKS header. */
export interface LuksArea {
  read(offset: number, length: number): Op<Uint8Array>;
  write(offset: number, bytes: Uint8Array): Op<void>;
  flush(): Op<void>;
}

const MIN_ITERATIONS = 1000;
/** How often erased key material is overwritten, each time down to the medium. */
const ERASE_PASSES = 3;
const DIGEST_BYTES = 20;

/** PBKDF2 iterations this machine does in a second, from a trial of some hundredths of a second. */
function* iterationsPerSecond(crypto: Crypto, hash: HashName, length: number): Op<number> {
  const parameters = { hash, password: new Uint8Array(16), salt: new Uint8Array(32), length };
  for (let iterations = 1 << 12; ;) {
    const start = performance.now();
    yield* deriveKey(crypto, { ...parameters, iterations });
    const elapsed = performance.now() - start;
    if (elapsed >= 25 || iterations >= MAX_KEY_ITERATIONS) return (iterations * 1000) / Math.max(elapsed, 1);
    iterations = Math.min(MAX_KEY_ITERATIONS, Math.ceil(elapsed < 2 ? iterations * 16 : (iterations * 35) / elapsed));
  }
}

/** Iterations that take `milliseconds` on this machine, at least the format's minimum. */
export function* iterationsFor(crypto: Crypto, hash: HashName, length: number, milliseconds: number): Op<number> {
  const iterations = Math.floor(((yield* iterationsPerSecond(crypto, hash, length)) * milliseconds) / 1000);
  if (iterations > MAX_KEY_ITERATIONS) {
    throw new BlockError("ERR_TOO_LARGE", `PBKDF iterations ${iterations} larger than ${MAX_KEY_ITERATIONS}`, {
      errno: "ERANGE",
      hint: "Choose a smaller iter-time.",
    });
  }
  return Math.max(iterations, MIN_ITERATIONS);
}

export class LuksVolume {
  readonly crypto: Crypto;
  readonly area: LuksArea;
  readonly header: LuksHeader;

  constructor(crypto: Crypto, area: LuksArea, header: LuksHeader) {
    this.crypto = crypto;
    this.area = area;
    this.header = header;
  }

  /** The cipher of the payload. */
  sectorCipher(key: Uint8Array): SectorCipher {
    const { cipher, mode, ivgen, ivgenHash } = this.header;
    if (cipher === "cast5-128") throw new BlockError("ERR_UNSUPPORTED", "Algorithm 'cast5-128' not supported");
    return makeSectorCipher(this.crypto, {
      cipher,
      mode,
      ivgen,
      ...(ivgenHash === null ? {} : { ivgenHash }),
      key,
      sectorSize: LUKS_SECTOR,
    });
  }

  /** Digest that tells the right master key. */
  digestOf(masterKey: Uint8Array): Op<Uint8Array> {
    const { hash, salt, iterations } = this.header;
    return deriveKey(this.crypto, { hash, password: masterKey, salt, iterations, length: DIGEST_BYTES });
  }

  /** The master key, from whichever slot the passphrase opens. */
  *unlock(passphrase: Uint8Array): Op<Uint8Array> {
    if (this.header.iterations > MAX_KEY_ITERATIONS) throw tooMany("The LUKS master key", this.header.iterations);
    let refused: BlockError | null = null;
    for (let i = 0; i < LUKS_SLOTS; i++) {
      const { active, iterations } = this.header.slots[i]!;
      if (!active) continue;
      if (iterations > MAX_KEY_ITERATIONS) {
        // Another slot may still have the passphrase.
        refused ??= tooMany(`Keyslot ${i}`, iterations);
        continue;
      }
      const key = yield* this.unlockSlot(i, passphrase);
      if (key !== null) return key;
    }
    throw refused ?? new BlockError("ERR_ENCRYPTED", "Invalid password, cannot unlock any keyslot", { errno: "EPERM" });
  }

  /** The master key from one slot; null when the slot is empty or the passphrase is not its own. */
  *unlockSlot(index: number, passphrase: Uint8Array): Op<Uint8Array | null> {
    const { hash, keyBytes, digest } = this.header;
    const slot = this.header.slots[index]!;
    if (!slot.active) return null;
    if (slot.iterations > MAX_KEY_ITERATIONS) throw tooMany(`Keyslot ${index}`, slot.iterations);
    const slotKey = yield* deriveKey(this.crypto, {
      hash,
      password: passphrase,
      salt: slot.salt,
      iterations: slot.iterations,
      length: keyBytes,
    });
    const length = keyBytes * slot.stripes;
    // Key sizes whose material ends inside a sector: the modes work block by block, what follows does not matter.
    const material = new Uint8Array(alignUp(length, LUKS_SECTOR));
    material.set(yield* this.area.read(slot.keyOffset, length));
    this.sectorCipher(slotKey).decrypt(material, 0);
    const key = afMerge(this.crypto, hash, material.subarray(0, length), slot.stripes);
    slotKey.fill(0);
    material.fill(0);
    return equalBytes(yield* this.digestOf(key), digest) ? key : null;
  }

  /** Puts the master key into a slot under a passphrase: the key material is on the medium before the header says so. */
  *fillSlot(index: number, passphrase: Uint8Array, masterKey: Uint8Array, iterTime: number): Op<void> {
    const { hash, keyBytes } = this.header;
    const slot = this.header.slots[index]!;
    const salt = new Uint8Array(slot.salt.length);
    secureRandom(salt);
    const iterations = yield* iterationsFor(this.crypto, hash, keyBytes, iterTime);
    const slotKey = yield* deriveKey(this.crypto, { hash, password: passphrase, salt, iterations, length: keyBytes });
    const length = keyBytes * slot.stripes;
    const material = new Uint8Array(alignUp(length, LUKS_SECTOR));
    material.set(afSplit(this.crypto, hash, masterKey, slot.stripes, secureRandom));
    this.sectorCipher(slotKey).encrypt(material, 0);
    slotKey.fill(0);
    yield* this.area.write(slot.keyOffset, material.subarray(0, length));
    yield* this.area.flush();
    yield* this.#change(index, { active: true, iterations, salt });
  }

  /** Empties a slot: first the header, then its key material is overwritten with noise. */
  *eraseSlot(index: number): Op<void> {
    const slot = this.header.slots[index]!;
    yield* this.#change(index, { active: false, iterations: 0, salt: new Uint8Array(slot.salt.length) });
    const noise = new Uint8Array(slotArea(this.header.keyBytes));
    for (let pass = 0; pass < ERASE_PASSES; pass++) {
      secureRandom(noise);
      yield* this.area.write(slot.keyOffset, noise);
      yield* this.area.flush();
    }
  }

  *#change(index: number, state: { active: boolean; iterations: number; salt: Uint8Array }): Op<void> {
    const slot = this.header.slots[index]!;
    const before = { ...slot };
    Object.assign(slot, state);
    try {
      yield* this.writeHeader();
      yield* this.area.flush();
    } catch (error) {
      Object.assign(slot, before);
      throw error;
    }
  }

  *writeHeader(): Op<void> {
    const bytes = encodeLuksHeader(this.header);
    if (bytes.length !== LUKS_HEADER_BYTES) throw new Error("LUKS header of the wrong size");
    yield* this.area.write(0, bytes);
  }
}

function tooMany(what: string, iterations: number): BlockError {
  return new BlockError(
    "ERR_TOO_LARGE",
    `${what} asks for ${iterations} PBKDF2 iterations; at most ${MAX_KEY_ITERATIONS} are allowed`,
    { errno: "ERANGE" },
  );
}
