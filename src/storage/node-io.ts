/**
 * Whole reads and writes on a descriptor: partial ones are continued, interrupted ones repeated, both synchronously and not.
 * A read is short only at the end of the file.
 */
import { read, readSync, write, writeSync } from "node:fs";
import type { BlockError } from "../base/error.js";
import { errnoOf, namedError, systemError } from "./node-errors.js";

/** One system call moves at most this much (libuv's limit is 2^31-1). */
const MAX_IO = 1 << 30;
/** A descriptor that never gets ready (a character device) is given up after so many tries, 1 ms apart. */
const MAX_AGAIN = 1000;

export type Context = { name: string; operation: string };

/** A failed system call of a file, with errno, file, operation and offset. */
export const fail = (error: unknown, { name, operation }: Context, offset?: number): BlockError =>
  systemError(error, undefined, offset === undefined ? { node: name, operation } : { node: name, operation, offset });

/** true: call again. Interrupted calls always, unready descriptors a while. */
function again(error: unknown, tries: { left: number }): boolean {
  const errno = errnoOf(error);
  if (errno === "EINTR") return true;
  return (errno === "EAGAIN" || errno === "EWOULDBLOCK") && tries.left-- > 0;
}

const pause = (): void => {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1);
};
const pauseAsync = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 1));

export function readAll(fd: number, into: Uint8Array, offset: number, context: Context): number {
  let done = 0;
  const tries = { left: MAX_AGAIN };
  while (done < into.length) {
    try {
      const count = readSync(fd, into, done, Math.min(into.length - done, MAX_IO), offset + done);
      if (count === 0) break;
      done += count;
    } catch (error) {
      if (!again(error, tries)) throw fail(error, context, offset + done);
      if (errnoOf(error) !== "EINTR") pause();
    }
  }
  return done;
}

export function writeAll(fd: number, from: Uint8Array, offset: number, context: Context): void {
  let done = 0;
  const tries = { left: MAX_AGAIN };
  while (done < from.length) {
    try {
      const count = writeSync(fd, from, done, Math.min(from.length - done, MAX_IO), offset + done);
      if (count === 0) throw namedError("ENOSPC", undefined, { node: context.name, operation: "write", offset: offset + done });
      done += count;
    } catch (error) {
      if (!again(error, tries)) throw fail(error, context, offset + done);
      if (errnoOf(error) !== "EINTR") pause();
    }
  }
}

const readOnce = (fd: number, into: Uint8Array, at: number, length: number, position: number): Promise<number> =>
  new Promise((resolve, reject) =>
    read(fd, into, at, length, position, (error, count) => (error ? reject(error) : resolve(count))),
  );
const writeOnce = (fd: number, from: Uint8Array, at: number, length: number, position: number): Promise<number> =>
  new Promise((resolve, reject) =>
    write(fd, from, at, length, position, (error, count) => (error ? reject(error) : resolve(count))),
  );

export async function readAllAsync(fd: number, into: Uint8Array, offset: number, context: Context): Promise<number> {
  let done = 0;
  const tries = { left: MAX_AGAIN };
  while (done < into.length) {
    try {
      const count = await readOnce(fd, into, done, Math.min(into.length - done, MAX_IO), offset + done);
      if (count === 0) break;
      done += count;
    } catch (error) {
      if (!again(error, tries)) throw fail(error, context, offset + done);
      if (errnoOf(error) !== "EINTR") await pauseAsync();
    }
  }
  return done;
}

export async function writeAllAsync(fd: number, from: Uint8Array, offset: number, context: Context): Promise<void> {
  let done = 0;
  const tries = { left: MAX_AGAIN };
  while (done < from.length) {
    try {
      const count = await writeOnce(fd, from, done, Math.min(from.length - done, MAX_IO), offset + done);
      if (count === 0) throw namedError("ENOSPC", undefined, { node: context.name, operation: "write", offset: offset + done });
      done += count;
    } catch (error) {
      if (!again(error, tries)) throw fail(error, context, offset + done);
      if (errnoOf(error) !== "EINTR") await pauseAsync();
    }
  }
}
