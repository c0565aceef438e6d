/** The usual open flags. */
import type { OpenFlags } from "./context.js";

export const READ_ONLY: OpenFlags = {
  write: false,
  noBacking: false,
  noIO: false,
  check: false,
  forceShare: false,
  unmap: false,
  noFlush: false,
  writethrough: false,
  direct: false,
};
export const READ_WRITE: OpenFlags = { ...READ_ONLY, write: true };
