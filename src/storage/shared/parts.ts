/** A list of buffers that is filled from a stream, front to back. */
export class PartsWriter {
  /** Bytes filled so far. */
  done = 0;
  readonly total: number;
  private index = 0;
  private at = 0;

  constructor(private readonly parts: readonly Uint8Array[]) {
    let total = 0;
    for (const part of parts) total += part.length;
    this.total = total;
  }

  /** false: more than there is room for (nothing past the end is written). */
  push(bytes: Uint8Array): boolean {
    for (let from = 0; from < bytes.length;) {
      const part = this.parts[this.index];
      if (part === undefined) return false;
      const count = Math.min(part.length - this.at, bytes.length - from);
      part.set(bytes.subarray(from, from + count), this.at);
      from += count;
      this.at += count;
      this.done += count;
      if (this.at === part.length) {
        this.index++;
        this.at = 0;
      }
    }
    return true;
  }
}
