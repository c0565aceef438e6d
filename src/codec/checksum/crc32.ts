/** CRC-32 of IEEE 802.3 (gzip, zip, GPT, DMG): check value of "123456789" is cbf43926. */
import { makeCrc, type Crc } from "./crc.js";

export const crc32: Crc = makeCrc(0xedb88320);
