/** What every long image operation takes: a signal it looks at between steps, and a listener for progress. */
import type { AbortLike } from "../jobs/block-copy.js";

export { throwIfAborted, type AbortLike } from "../jobs/block-copy.js";

export interface OperationProgress {
  phase: string;
  /** In bytes, or in the unit of the phase. */
  done: number;
  total: number;
}

export interface OperationOptions {
  signal?: AbortLike | undefined;
  onProgress?: ((progress: OperationProgress) => void) | undefined;
}
