/** CRC-32C (Castagnoli; VHDX): check value of "123456789" is e3069283. */
import { makeCrc, type Crc } from "./crc.js";

export const crc32c: Crc = makeCrc(0x82f63b78);
