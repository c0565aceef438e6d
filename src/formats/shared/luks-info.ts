/** What qemu-img info prints of a LUKS header. */
import type { LuksHeader } from "./luks-header.js";

/** Members of `QCryptoBlockInfoLUKS`. */
export function luksInfo(header: LuksHeader): Record<string, unknown> {
  return {
    "cipher-alg": header.cipher,
    "cipher-mode": header.mode,
    "ivgen-alg": header.ivgen,
    ...(header.ivgen === "essiv" ? { "ivgen-hash-alg": header.ivgenHash } : {}),
    "hash-alg": header.hash,
    "payload-offset": header.payloadOffset,
    "master-key-iters": header.iterations,
    uuid: header.uuid,
    slots: header.slots.map((slot) => ({
      active: slot.active,
      ...(slot.active ? { iters: slot.iterations, stripes: slot.stripes } : {}),
      "key-offset": slot.keyOffset,
    })),
  };
}
