/**
 * Where buffers come from whose size an image or a request decides: tables, clusters, bounce buffers, kernel memories. A runtime that
 * has no memory left says so with a RangeError out of any `new`; here that becomes an error like others. A host may watch, and refuse.
 */
import { BlockError } from "./error.js";

/** Called with the number of bytes before each allocation; refuses by throwing. */
export type AllocationGate = (bytes: number) => void;

let gate: AllocationGate | null = null;

/** Sets the gate for this thread; null: none. Returns the one there was. */
export function setAllocationGate(next: AllocationGate | null): AllocationGate | null {
  const before = gate;
  gate = next;
  return before;
}

/** The error for memory that is not to be had. */
export function outOfMemory(bytes: number, what = "memory", cause?: unknown): BlockError {
  return new BlockError("ERR_TOO_LARGE", `Could not allocate ${bytes} bytes of ${what}`, {
    errno: "ENOMEM",
    ...(cause === undefined ? {} : { cause }),
  });
}

/** `make` gets memory of `bytes` bytes from the runtime. @throws BlockError ERR_TOO_LARGE (ENOMEM) when there is none */
export function allocateWith<T>(bytes: number, make: () => T, what?: string): T {
  gate?.(bytes);
  try {
    return make();
  } catch (error) {
    throw error instanceof RangeError ? outOfMemory(bytes, what, error) : error;
  }
}

/** A buffer of zeros. @throws BlockError ERR_TOO_LARGE (ENOMEM) when there is no memory for it */
export const allocate = (bytes: number): Uint8Array<ArrayBuffer> => allocateWith(bytes, () => new Uint8Array(bytes));
