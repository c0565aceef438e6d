/** An object store in memory with the interface of an R2 bucket and its rules for parts. */
import type {
  MultipartUpload,
  ObjectBody,
  ObjectHead,
  ObjectSource,
  ObjectTarget,
  UploadedPart,
} from "../../src/storage/object.js";

export class FakeBucket implements ObjectSource, ObjectTarget {
  readonly objects: Map<string, { bytes: Uint8Array; etag: string }> = new Map();
  readonly log: string[] = [];
  /** So many next calls fail. */
  failures = 0;
  /** Bodies end after so many bytes. */
  cutAfter: number = Infinity;
  aborted = 0;
  /** Part uploads take this long, the first ones longest. */
  uploadDelay = 0;
  active = 0;
  mostActive = 0;
  private version = 0;

  put(key: string, bytes: Uint8Array): void {
    this.objects.set(key, { bytes, etag: `e${++this.version}` });
  }

  async head(key: string): Promise<ObjectHead | null> {
    this.log.push(`head ${key}`);
    this.fail();
    const found = this.objects.get(key);
    return found === undefined ? null : { size: found.bytes.length, etag: found.etag };
  }

  async get(key: string, { range, onlyIf }: Parameters<ObjectSource["get"]>[1]): Promise<ObjectBody | ObjectHead | null> {
    this.log.push(`get ${key} ${range.offset}+${range.length}`);
    this.fail();
    const found = this.objects.get(key);
    if (found === undefined) return null;
    const head = { size: found.bytes.length, etag: found.etag };
    if (onlyIf.etagMatches !== found.etag) return head;
    const part = found.bytes.slice(range.offset, range.offset + Math.min(range.length, this.cutAfter));
    const body = new ReadableStream<Uint8Array>({
      start: (controller) => {
        for (let at = 0; at < part.length; at += 10000) controller.enqueue(part.subarray(at, at + 10000));
        controller.close();
      },
    });
    return { ...head, body };
  }

  async createMultipartUpload(key: string): Promise<MultipartUpload> {
    this.fail();
    const parts = new Map<number, Uint8Array>();
    return {
      uploadPart: async (partNumber, bytes): Promise<UploadedPart> => {
        this.mostActive = Math.max(this.mostActive, ++this.active);
        if (this.uploadDelay > 0) await new Promise((resolve) => setTimeout(resolve, this.uploadDelay / partNumber));
        this.active--;
        this.fail();
        parts.set(partNumber, bytes.slice());
        return { partNumber, etag: `p${partNumber}` };
      },
      complete: async (list) => {
        this.fail();
        const sizes = list.map((part) => parts.get(part.partNumber)!.length);
        if (list.some((part, i) => part.partNumber !== i + 1 || part.etag !== `p${i + 1}`)) throw new Error("parts out of order");
        if (sizes.slice(0, -1).some((size) => size !== sizes[0] || size < 5 << 20))
          throw new Error("parts must be equal and at least 5 MiB");
        if (sizes.at(-1)! > sizes[0]!) throw new Error("the last part is larger");
        this.put(key, new Uint8Array(Buffer.concat(list.map((part) => parts.get(part.partNumber)!))));
      },
      abort: async () => {
        this.aborted++;
      },
    };
  }

  private fail(): void {
    if (this.failures > 0) {
      this.failures--;
      throw new Error("internal error; please try again");
    }
  }
}
