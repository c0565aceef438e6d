/**
 * Descriptors this process has inherited, in sets: "/dev/fdset/N" is whichever of set N was opened for what is wanted. Node.js
 * cannot duplicate descriptors: they are used as they are, and closed when they have left their set and nobody uses them.
 */
import { closeSync, fstatSync, readFileSync } from "node:fs";
import { BlockError, errnoError, prefixError } from "../base/error.js";

export interface SetMember {
  readonly fd: number;
  /** What its owner calls it. */
  readonly opaque?: string;
}
interface Member extends SetMember {
  users: number;
  removed: boolean;
}

/** A descriptor in use. `release` may close it. */
export interface BorrowedDescriptor {
  readonly fd: number;
  release(): void;
}

const O_ACCMODE = 3;
const [O_RDONLY, O_RDWR] = [0, 2];

/** How a descriptor was opened; null where the system does not tell. */
function accessMode(fd: number): number | null {
  try {
    const flags = /^flags:\s*([0-7]+)$/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, "latin1"))?.[1];
    return flags === undefined ? null : Number.parseInt(flags, 8) & O_ACCMODE;
  } catch {
    return null;
  }
}

class DescriptorSets {
  readonly #sets: Map<number, Member[]> = new Map();

  /** @throws BlockError ERR_INVALID_ARGUMENT: it is not open, a standard stream, or in a set already */
  add(fd: number, set: number, opaque?: string): void {
    if (!Number.isSafeInteger(fd) || fd < 0)
      throw new BlockError("ERR_INVALID_ARGUMENT", "fd option is required and must be non-negative");
    if (fd <= 2) throw new BlockError("ERR_INVALID_ARGUMENT", "fd cannot be a standard I/O stream");
    if (!Number.isSafeInteger(set) || set < 0)
      throw new BlockError("ERR_INVALID_ARGUMENT", "set option is required and must be non-negative");
    const isTaken = [...this.#sets.values()].some((members) => members.some((member) => member.fd === fd));
    if (isTaken || !isOpen(fd)) throw new BlockError("ERR_INVALID_ARGUMENT", "fd is not valid or already in use");
    const members = this.#sets.get(set) ?? [];
    members.push({ fd, users: 0, removed: false, ...(opaque === undefined ? {} : { opaque }) });
    this.#sets.set(set, members);
  }

  /** As query-fdsets tells them: the highest number first. */
  list(): { id: number; members: SetMember[] }[] {
    return [...this.#sets].sort(([a], [b]) => b - a).map(([id, members]) => ({ id, members: [...members] }));
  }

  /** Takes one descriptor out of a set, or all of them; false: there is none such. */
  remove(set: number, fd?: number): boolean {
    const members = this.#sets.get(set) ?? [];
    const going = fd === undefined ? [...members] : members.filter((member) => member.fd === fd);
    if (going.length === 0) return false;
    const staying = members.filter((member) => !going.includes(member));
    if (staying.length > 0) this.#sets.set(set, staying);
    else this.#sets.delete(set);
    for (const member of going) {
      member.removed = true;
      if (member.users === 0) closeSync(member.fd);
    }
    return true;
  }

  /**
   * The descriptor that a name in /dev/fdset stands for; null: it is another name.
   * @throws BlockError in QEMU's words: ENOENT: there is no such set; EACCES: none in it was opened for this
   */
  borrow(path: string, readOnly: boolean): BorrowedDescriptor | null {
    const id = /^\/dev\/fdset\/([0-9]+)$/.exec(path)?.[1];
    if (id === undefined) return null;
    const wanted = readOnly ? O_RDONLY : O_RDWR;
    const members = this.#sets.get(Number(id));
    const found = members?.find(({ fd }) => (accessMode(fd) ?? wanted) === wanted);
    if (found === undefined) {
      const why = errnoError(this.#sets.size === 0 ? "ENOTSUP" : members === undefined ? "ENOENT" : "EACCES");
      throw prefixError(`Could not dup FD for ${path} flags ${wanted}: `, why);
    }
    found.users++;
    return {
      fd: found.fd,
      release() {
        if (--found.users === 0 && found.removed) closeSync(found.fd);
      },
    };
  }
}

function isOpen(fd: number): boolean {
  try {
    fstatSync(fd);
    return true;
  } catch {
    return false;
  }
}

/** Those of this process. */
export const descriptorSets: DescriptorSets = new DescriptorSets();
