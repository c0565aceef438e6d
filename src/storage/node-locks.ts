/**
 * Image locks as QEMU's file driver takes them, so that QEMU and this library keep out of each other's images.
 *
 * Byte 100 + i of the file locked means "I use permission i", byte 200 + i means "I do not share permission i" (the bits of
 * `Permission`). All locks are shared OFD locks; a conflict is found by asking whether somebody else locked the byte that
 * contradicts. Both sides lock first and ask then: of two at the same moment both may fail, never both succeed.
 *
 * Without the native calls (node-native.ts) nothing can be announced to other programs. Then opens within this process
 * exclude each other by a table, and on Linux the locks of others are seen in /proc/locks at the moment of opening.
 */
import { fstatSync, readFileSync } from "node:fs";
import { BlockError } from "../base/error.js";
import type { NativeFiles } from "./node-native.js";
import { namedError } from "./node-errors.js";

export const Permission = {
  consistentRead: 1,
  write: 2,
  writeUnchanged: 4,
  resize: 8,
  all: 15,
} as const;

const NAMES = ["consistent read", "write", "write unchanged", "resize"];
const USED_BASE = 100;
const UNSHARED_BASE = 200;

export interface ImageLock {
  /** "ofd": seen by all programs; "process": by this process only. */
  readonly kind: "ofd" | "process";
  /**
   * Uses `permissions` and lets others use `shared` (both of `Permission` bits) from now on.
   * @throws BlockError ERR_BUSY naming the permission in conflict; what was held before is still held then
   */
  set(permissions: number, shared: number): void;
  /** Gives everything up. Never throws. */
  release(): void;
}

function conflict(name: string, bit: number, what: "used" | "unshared"): BlockError {
  const permission = NAMES[bit] ?? String(bit);
  return new BlockError("ERR_BUSY", `Failed to get ${what === "used" ? "" : "shared "}"${permission}" lock`, {
    errno: "EAGAIN",
    node: name,
    operation: "lock",
    hint: `Is another process using the image [${name}]?`,
  });
}

/** Calls `test` with every byte others must not have locked; the first that is ends it with QEMU's error. */
function checkOthers(name: string, permissions: number, unshared: number, lockedByOthers: (at: number) => boolean): void {
  for (let bit = 0; bit < NAMES.length; bit++) {
    if (permissions & (1 << bit) && lockedByOthers(UNSHARED_BASE + bit)) throw conflict(name, bit, "used");
  }
  for (let bit = 0; bit < NAMES.length; bit++) {
    if (unshared & (1 << bit) && lockedByOthers(USED_BASE + bit)) throw conflict(name, bit, "unshared");
  }
}

class OfdLock implements ImageLock {
  readonly kind = "ofd" as const;
  private permissions = 0;
  private unshared = 0;

  constructor(
    private readonly fd: number,
    private readonly name: string,
    private readonly native: NativeFiles,
  ) {}

  set(permissions: number, shared: number): void {
    const unshared = ~shared & Permission.all;
    const before = { permissions: this.permissions, unshared: this.unshared };
    const more = (permissions & ~this.permissions) !== 0 || (unshared & ~this.unshared) !== 0;
    if (more) {
      try {
        this.lock(permissions, unshared);
        checkOthers(this.name, permissions, unshared, (at) => {
          const answer = this.native.byteLockedByOthers(this.fd, at);
          if (typeof answer === "string") throw namedError(answer, `Failed to test lock of byte ${at}`, { node: this.name });
          return answer;
        });
      } catch (error) {
        this.unlockAllBut(before.permissions, before.unshared);
        throw error;
      }
    }
    this.unlockAllBut(permissions, unshared);
  }

  release(): void {
    this.unlockAllBut(0, 0);
  }

  private lock(permissions: number, unshared: number): void {
    for (let bit = 0; bit < NAMES.length; bit++) {
      const mask = 1 << bit;
      if (permissions & mask && !(this.permissions & mask)) this.lockByte(USED_BASE + bit, () => (this.permissions |= mask));
      if (unshared & mask && !(this.unshared & mask)) this.lockByte(UNSHARED_BASE + bit, () => (this.unshared |= mask));
    }
  }

  private lockByte(at: number, done: () => void): void {
    const errno = this.native.lockByte(this.fd, at);
    if (errno !== null) {
      throw new BlockError("ERR_BUSY", `Failed to lock byte ${at}`, {
        node: this.name,
        operation: "lock",
        hint: `Is another process using the image [${this.name}]?`,
        cause: namedError(errno, undefined, {}),
      });
    }
    done();
  }

  private unlockAllBut(permissions: number, unshared: number): void {
    for (let bit = 0; bit < NAMES.length; bit++) {
      const mask = 1 << bit;
      if (this.permissions & mask & ~permissions) this.native.unlockByte(this.fd, USED_BASE + bit);
      if (this.unshared & mask & ~unshared) this.native.unlockByte(this.fd, UNSHARED_BASE + bit);
    }
    this.permissions &= permissions;
    this.unshared &= unshared;
  }
}

/** Holders in this process by "device:inode". */
const held = new Map<string, Set<ProcessLock>>();

class ProcessLock implements ImageLock {
  readonly kind = "process" as const;
  private permissions = 0;
  private unshared = 0;
  private readonly key: string;
  private readonly procKey: string;

  constructor(
    fd: number,
    private readonly name: string,
  ) {
    const { dev, ino } = fstatSync(fd, { bigint: true });
    this.key = `${dev}:${ino}`;
    this.procKey = `${procDevice(dev)}:${ino}`;
  }

  set(permissions: number, shared: number): void {
    const unshared = ~shared & Permission.all;
    const more = (permissions & ~this.permissions) !== 0 || (unshared & ~this.unshared) !== 0;
    const holders = held.get(this.key) ?? new Set<ProcessLock>();
    if (more) {
      const foreign = lockedBytes(this.procKey);
      checkOthers(this.name, permissions, unshared, (at) => {
        if (foreign.has(at)) return true;
        for (const other of holders) if (other !== this && other.holds(at)) return true;
        return false;
      });
    }
    this.permissions = permissions;
    this.unshared = unshared;
    holders.add(this);
    held.set(this.key, holders);
  }

  release(): void {
    const holders = held.get(this.key);
    if (holders?.delete(this) && holders.size === 0) held.delete(this.key);
    this.permissions = this.unshared = 0;
  }

  private holds(at: number): boolean {
    return at >= UNSHARED_BASE
      ? (this.unshared & (1 << (at - UNSHARED_BASE))) !== 0
      : (this.permissions & (1 << (at - USED_BASE))) !== 0;
  }
}

/** A device number as /proc/locks prints it (Linux' encoding of st_dev). */
function procDevice(dev: bigint): string {
  const major = ((dev >> 8n) & 0xfffn) | ((dev >> 32n) & ~0xfffn);
  const minor = (dev & 0xffn) | ((dev >> 12n) & 0xffffff00n);
  return `${major.toString(16).padStart(2, "0")}:${minor.toString(16).padStart(2, "0")}`;
}

/** The lock bytes of an inode that /proc/locks shows; empty where there is no such file. */
function lockedBytes(inode: string): Set<number> {
  const bytes = new Set<number>();
  let text: string;
  try {
    text = readFileSync("/proc/locks", "latin1");
  } catch {
    return bytes;
  }
  for (const line of text.split("\n")) {
    const found = / (?:OFDLCK|POSIX) +\S+ +(?:READ|WRITE) +\S+ (\S+) (\d+) (\d+|EOF)/.exec(line);
    if (found === null || found[1] !== inode) continue;
    const last = found[3] === "EOF" ? Infinity : Number(found[3]);
    for (let bit = 0; bit < NAMES.length; bit++) {
      for (const at of [USED_BASE + bit, UNSHARED_BASE + bit]) if (Number(found[2]) <= at && at <= last) bytes.add(at);
    }
  }
  return bytes;
}

/** The lock of one open file; OFD locks if the native calls are there. Nothing is held yet. */
export function imageLock(fd: number, name: string, native: NativeFiles | null): ImageLock {
  return native === null ? new ProcessLock(fd, name) : new OfdLock(fd, name, native);
}
