/** What encrypted images need of their environment: passphrases by id, and cryptography. */
import { BlockError } from "../../base/error.js";
import type { Environment } from "../../block/context.js";
import { foreign, type Op } from "../../block/op.js";
import type { Crypto, Pbkdf2Parameters } from "../../codec/crypto/crypto.js";

/** The cryptography of this runtime. @throws BlockError ERR_UNSUPPORTED when the entry brought none */
export function cryptoOf(environment: Environment): Crypto {
  const { crypto } = environment;
  if (crypto !== undefined) return crypto;
  throw new BlockError(
    "ERR_UNSUPPORTED",
    "This build of Blockcore has no cryptography: encrypted images cannot be read or made",
    {
      hint: "Add `crypto` to the environment of the entry you use.",
    },
  );
}

/** What one key derivation may cost, whatever a header asks for: some seconds on a slow machine. */
export const MAX_KEY_ITERATIONS = 10_000_000;

/** Off the calling thread where that is possible. The caller holds `iterations` below the limit. */
export function deriveKey(crypto: Crypto, parameters: Pbkdf2Parameters): Op<Uint8Array> {
  return foreign(
    "Deriving a key",
    () => crypto.pbkdf2Sync(parameters),
    () => crypto.pbkdf2(parameters),
  );
}

/**
 * The passphrase with this id, as the bytes of its text up to a NUL (QEMU's passphrases are C strings).
 * @throws BlockError ERR_ENCRYPTED when there is none, ERR_INVALID_ARGUMENT when it is not UTF-8
 */
export function* lookupPassphrase(environment: Environment, id: string, purpose: string): Op<Uint8Array> {
  const secret = yield* environment.secrets(id, purpose);
  if (secret === null) throw new BlockError("ERR_ENCRYPTED", `No secret with id '${id}'`);
  try {
    new TextDecoder("utf-8", { fatal: true }).decode(secret);
  } catch {
    throw new BlockError("ERR_INVALID_ARGUMENT", `Data from secret ${id} is not valid UTF-8`);
  }
  const end = secret.indexOf(0);
  return end < 0 ? secret : secret.subarray(0, end);
}

/** The passphrase an open or create option names. `prefix` is what the option is called below, "encrypt." inside qcow2. */
export function* passphraseOf(environment: Environment, id: string | undefined, prefix: string, purpose: string): Op<Uint8Array> {
  if (id === undefined) {
    throw new BlockError("ERR_ENCRYPTED", `Parameter '${prefix}key-secret' is required for cipher`);
  }
  return yield* lookupPassphrase(environment, id, purpose);
}
