/** Where a file has data and where holes, from SEEK_DATA and SEEK_HOLE. */
import { pushExtent } from "./shared/extent-list.js";
import { NOT_POSSIBLE, type NativeFiles } from "./node-native.js";
import type { StorageExtent } from "./storage.js";

/** Remembers the last run of data found, as only that may be reused: taking a hole for data is safe, the reverse is not. */
export class DataRuns {
  readonly #fd: number;
  /** false: the file system turned out to be one that cannot say. */
  canSeek = true;
  #from = 0;
  #to = 0;

  constructor(fd: number) {
    this.#fd = fd;
  }

  /** The answer if the range lies inside the run that is remembered. */
  known(offset: number, length: number): StorageExtent[] | null {
    return length > 0 && offset >= this.#from && offset + length <= this.#to ? [{ offset, length, data: true }] : null;
  }

  /** That range has changed. */
  forget(from: number, to: number): void {
    if (from < this.#to && to > this.#from) this.#from = this.#to = 0;
  }

  /**
   * The runs of a range, at most `limit` of them; what the file system cannot say is data.
   * @param checkEnd throws if the file ends within the range: asked where the rest seems to be a hole
   */
  find(native: NativeFiles, offset: number, length: number, limit: number, checkEnd: () => void): StorageExtent[] {
    const end = offset + length;
    const list: StorageExtent[] = [];
    for (let at = offset; at < end && list.length < limit;) {
      if (at >= this.#from && at < this.#to) {
        const next = Math.min(end, this.#to);
        pushExtent(list, at, next - at, true);
        at = next;
        continue;
      }
      const data = native.seekData(this.#fd, at);
      if (data === "ENXIO" || (typeof data === "number" && data > at)) {
        if (data === "ENXIO") checkEnd();
        const next = Math.min(end, data === "ENXIO" ? end : data);
        pushExtent(list, at, next - at, false);
        at = next;
        continue;
      }
      const hole = typeof data === "string" ? data : native.seekHole(this.#fd, at);
      if (typeof hole === "string" || hole <= at) {
        if (typeof hole === "string" && NOT_POSSIBLE.has(hole)) this.canSeek = false;
        pushExtent(list, at, end - at, true);
        return list;
      }
      this.#from = at;
      this.#to = hole;
    }
    return list;
  }
}
