/** The hooks through which the chokepoint encrypts and decrypts an image's data. */
import { BlockError } from "../../base/error.js";
import type { Node } from "../../block/node.js";
import type { Op } from "../../block/op.js";
import type { SectorCipher } from "../../codec/crypto/sector-cipher.js";

export interface PayloadCipher {
  decrypt(bytes: Uint8Array, guest: number, host: number): Op<void>;
  encrypt(bytes: Uint8Array, guest: number, host: number): Op<void>;
}

/** `numbering`: whether a sector's number (its initialization vector) is that of its place in the guest's disk or in the file. */
export function payloadCipher(cipher: SectorCipher, numbering: "guest" | "host"): PayloadCipher {
  const unit = cipher.sectorSize;
  const number = numbering === "host" ? (_guest: number, host: number) => host / unit : (guest: number) => guest / unit;
  return {
    // eslint-disable-next-line require-yield
    *decrypt(bytes, guest, host) {
      cipher.decrypt(bytes, number(guest, host));
    },
    // eslint-disable-next-line require-yield
    *encrypt(bytes, guest, host) {
      cipher.encrypt(bytes, number(guest, host));
    },
  };
}

/** Of an image that was opened for its metadata only. */
export function lockedCipher(node: Node): PayloadCipher {
  // eslint-disable-next-line require-yield
  function* refuse(): Op<never> {
    throw new BlockError("ERR_ENCRYPTED", `'${node.nodeName}' is encrypted and was opened without its key`, {
      errno: "EPERM",
      node: node.nodeName,
    });
  }
  return { decrypt: refuse, encrypt: refuse };
}
