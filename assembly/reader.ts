/** The export list of the reader's kernel module: what finding data takes (src/kernel/map-kernel.ts). */
export { scanL2 } from "./map/l2";
export { scanL2Extended } from "./map/l2-extended";
