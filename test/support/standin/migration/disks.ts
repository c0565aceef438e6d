/** The content of disks in the stream: block migration as it was before mirrors (`migrate -b`). */
import { activate } from "../../../../src/block/activation.js";
import * as io from "../../../../src/block/io.js";
import type { Op } from "../../../../src/block/op.js";
import type { BlockCore } from "../../../../src/qmp/block-core.js";
import { BlockError } from "../../../../src/base/error.js";

const PIECE = 1024 * 1024;

export interface SentPiece {
  readonly device: string;
  readonly offset: number;
  /** Bytes of zeros. */
  readonly zeros?: number;
  /** Base64. */
  readonly data?: string;
}

/** All writable disks, piece by piece. */
export function* sendDisks(core: BlockCore, send: (piece: SentPiece) => Op<void>): Op<void> {
  for (const { name, medium } of core.devices.values()) {
    if (medium === null || medium.staysReadOnly) continue;
    for (let offset = 0; offset < medium.size; offset += PIECE) {
      const bytes = yield* io.readBytes(medium, offset, Math.min(PIECE, medium.size - offset));
      const isZero = bytes.every((byte) => byte === 0);
      yield* send({
        device: name,
        offset,
        ...(isZero ? { zeros: bytes.length } : { data: Buffer.from(bytes).toString("base64") }),
      });
    }
  }
}

export function* receivePiece(core: BlockCore, { device, offset, zeros, data }: SentPiece): Op<void> {
  const node = core.devices.get(device)?.medium ?? null;
  if (node === null) throw new BlockError("ERR_NOT_FOUND", `Error unknown block device ${device}`);
  yield* activate([node]);
  if (zeros !== undefined) yield* io.writeZeroes(node, offset, zeros, { mayUnmap: true });
  if (data !== undefined) yield* io.write(node, Buffer.from(data, "base64"), offset);
}
