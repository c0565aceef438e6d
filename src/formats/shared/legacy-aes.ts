/** The encryption of old qcow and qcow2 images: AES-128-CBC with the first 16 bytes of the passphrase as they are. */
import type { Environment } from "../../block/context.js";
import type { Op } from "../../block/op.js";
import { makeSectorCipher, type SectorCipher } from "../../codec/crypto/sector-cipher.js";
import { cryptoOf, passphraseOf } from "./secrets.js";

export function* legacyAes(environment: Environment, keySecret: string | undefined, prefix: string): Op<SectorCipher> {
  const crypto = cryptoOf(environment);
  const passphrase = yield* passphraseOf(environment, keySecret, prefix, "open");
  const key = new Uint8Array(16);
  key.set(passphrase.subarray(0, 16));
  return makeSectorCipher(crypto, { cipher: "aes-128", mode: "cbc", ivgen: "plain64", key, sectorSize: 512 });
}
