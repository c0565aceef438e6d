/**
 * The few libc calls `node:fs` lacks, through the optional package `koffi` (a foreign function interface with prebuilt
 * binaries): holes, hole punching, preallocation and open-file-description locks.
 *
 * Loaded on first need (about 1 ms), at most once; everything works without it, with less (see node-fs.ts). Linux on
 * 64-bit little-endian machines only: structure layouts and constants below are those of that ABI.
 */
import { readdirSync } from "node:fs";
import { createRequire } from "node:module";
import { arch, endianness, platform } from "node:os";
import { errnoName } from "./node-errors.js";

/** Errors that say of a call that it is none here; whether of a file, a file system or a platform. */
export const NOT_POSSIBLE: ReadonlySet<string> = new Set([
  "ENOTSUP",
  "EOPNOTSUPP",
  "ENOSYS",
  "ENODEV",
  "EINVAL",
  "EBADF",
  "ESPIPE",
  "ENOTTY",
]);

/** Results are `null` for success or the errno's name. */
export interface NativeFiles {
  /** Start of the first data at or after `offset`; "ENXIO" when only a hole follows. */
  seekData(fd: number, offset: number): number | string;
  /** Start of the first hole at or after `offset` (the end of the file counts as one). */
  seekHole(fd: number, offset: number): number | string;
  /** Size of a file or device. */
  seekEnd(fd: number): number | string;
  punchHole(fd: number, offset: number, length: number): string | null;
  zeroRange(fd: number, offset: number, length: number): string | null;
  /** posix_fallocate: reserves blocks, grows the file. */
  reserve(fd: number, offset: number, length: number): string | null;
  punchHoleAsync(fd: number, offset: number, length: number): Promise<string | null>;
  zeroRangeAsync(fd: number, offset: number, length: number): Promise<string | null>;
  reserveAsync(fd: number, offset: number, length: number): Promise<string | null>;
  /** Shared OFD lock on one byte. */
  lockByte(fd: number, at: number): string | null;
  unlockByte(fd: number, at: number): string | null;
  /** true when another open file description holds a lock on the byte. */
  byteLockedByOthers(fd: number, at: number): boolean | string;
}

type NativeFunction = ((...args: unknown[]) => number) & { async(...args: unknown[]): void };
interface Koffi {
  load(path: string | null): { func(prototype: string): NativeFunction };
  errno(): number;
}

const SEEK_END = 2;
const SEEK_DATA = 3;
const SEEK_HOLE = 4;
const FALLOC_KEEP_SIZE = 1;
const FALLOC_PUNCH_HOLE = 2;
const FALLOC_ZERO_RANGE = 16;
const F_OFD_GETLK = 36;
const F_OFD_SETLK = 37;
const F_RDLCK = 0;
const F_WRLCK = 1;
const F_UNLCK = 2;

function bind(koffi: Koffi): NativeFiles {
  // null: the running program, which is linked to its libc, whichever that is.
  const libc = koffi.load(null);
  const lseek = libc.func("int64_t lseek(int, int64_t, int)");
  const fallocate = libc.func("int fallocate(int, int, int64_t, int64_t)");
  const posixFallocate = libc.func("int posix_fallocate(int, int64_t, int64_t)");
  const fcntl = libc.func("int fcntl(int, int, ...)");

  const failure = (): string => errnoName(koffi.errno());
  const seek = (fd: number, offset: number, whence: number): number | string => {
    const at = Number(lseek(fd, offset, whence));
    return at < 0 ? failure() : at;
  };
  const allocate = (fd: number, mode: number, offset: number, length: number): string | null => {
    for (;;) {
      if (fallocate(fd, mode, offset, length) === 0) return null;
      const errno = failure();
      if (errno !== "EINTR") return errno;
    }
  };
  const call = (fn: NativeFunction, ...args: unknown[]): Promise<number> =>
    new Promise((resolve, reject) => {
      fn.async(...args, (error: unknown, result: number) => (error ? reject(error) : resolve(result)));
    });
  const allocateAsync = async (fd: number, mode: number, offset: number, length: number): Promise<string | null> => {
    if ((await call(fallocate, fd, mode, offset, length)) === 0) return null;
    // errno belongs to the worker thread; the same call here, which fails the same way, tells us.
    return allocate(fd, mode, offset, length);
  };
  const reserved = (result: number): string | null => (result === 0 ? null : errnoName(result));

  // struct flock: short l_type, short l_whence, (4 bytes) off_t l_start, off_t l_len, pid_t l_pid.
  const flock = new Uint8Array(32);
  const fields = new DataView(flock.buffer);
  const lock = (fd: number, command: number, type: number, at: number): string | null => {
    flock.fill(0);
    fields.setInt16(0, type, true);
    fields.setUint32(8, at, true);
    fields.setUint32(16, 1, true);
    for (;;) {
      if (fcntl(fd, command, "void*", flock) !== -1) return null;
      const errno = failure();
      if (errno !== "EINTR") return errno;
    }
  };

  return {
    seekData: (fd, offset) => seek(fd, offset, SEEK_DATA),
    seekHole: (fd, offset) => seek(fd, offset, SEEK_HOLE),
    seekEnd: (fd) => seek(fd, 0, SEEK_END),
    punchHole: (fd, offset, length) => allocate(fd, FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, offset, length),
    zeroRange: (fd, offset, length) => allocate(fd, FALLOC_ZERO_RANGE | FALLOC_KEEP_SIZE, offset, length),
    reserve: (fd, offset, length) => {
      let result = "EINTR" as string | null;
      while (result === "EINTR") result = reserved(posixFallocate(fd, offset, length));
      return result;
    },
    punchHoleAsync: (fd, offset, length) => allocateAsync(fd, FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, offset, length),
    zeroRangeAsync: (fd, offset, length) => allocateAsync(fd, FALLOC_ZERO_RANGE | FALLOC_KEEP_SIZE, offset, length),
    reserveAsync: async (fd, offset, length) => {
      let result = "EINTR" as string | null;
      while (result === "EINTR") result = reserved(await call(posixFallocate, fd, offset, length));
      return result;
    },
    lockByte: (fd, at) => lock(fd, F_OFD_SETLK, F_RDLCK, at),
    unlockByte: (fd, at) => lock(fd, F_OFD_SETLK, F_UNLCK, at),
    byteLockedByOthers: (fd, at) => {
      const errno = lock(fd, F_OFD_GETLK, F_WRLCK, at);
      return errno ?? fields.getInt16(0, true) !== F_UNLCK;
    },
  };
}

let loaded: NativeFiles | null | undefined;

/** The native calls, or null where they are not to be had (other system, `koffi` not installed or not loadable). */
export function nativeFiles(): NativeFiles | null {
  if (loaded !== undefined) return loaded;
  loaded = null;
  if (platform() !== "linux" || endianness() !== "LE" || !["x64", "arm64", "riscv64", "loong64"].includes(arch())) return loaded;
  for (const koffi of [koffiDirectly, koffiByItself]) {
    try {
      loaded = bind(koffi(createRequire(import.meta.url)));
      break;
    } catch {
      // An optional dependency: its absence is a state, not a failure.
    }
  }
  return loaded;
}

/**
 * koffi's binary, where it lies for this machine: finding it by koffi's own loader takes four times as long as loading it, and
 * every command pays. That loader has the last word: where the binary is another one (musl), lies elsewhere or is not like this.
 */
function koffiDirectly(require: NodeJS.Require): Koffi {
  if (readdirSync("/lib").some((name) => name.startsWith("ld-musl-"))) throw new Error("another binary");
  return require(`@koromix/koffi-linux-${arch()}/linux_${arch()}/koffi.node`) as Koffi;
}
function koffiByItself(require: NodeJS.Require): Koffi {
  return require("koffi") as Koffi;
}
