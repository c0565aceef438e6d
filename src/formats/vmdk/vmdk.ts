/** The VMDK format (VMware): hosted sparse and flat images, split ones, streamOptimized, and the sparse extents of ESX servers. */
import { startsWith } from "../../base/bytes.js";
import type { OpenContext } from "../../block/context.js";
import type { Driver } from "../../block/driver.js";
import type { Op } from "../../block/op.js";
import { create, createOptions } from "./create.js";
import type { VmdkImage } from "./image.js";
import { COWD_MAGIC, HOSTED_MAGIC } from "./layout.js";
import { openImage } from "./open.js";
import { measureVmdk, planVmdkStream } from "./stream.js";

/** Sure where a magic number or the first lines of a descriptor are seen. */
function probe(head: Uint8Array): number {
  if (startsWith(head, HOSTED_MAGIC) || startsWith(head, COWD_MAGIC)) return 100;
  let at = 0;
  // Comments and blank lines, then "version=1" to "version=3".
  while (at < head.length) {
    if (head[at] === 0x23) {
      while (at < head.length && head[at] !== 0x0a) at++;
      at++;
      continue;
    }
    if (head[at] === 0x20) {
      while (head[at] === 0x20) at++;
      if (head[at] === 0x0d) at++;
      if (head[at] !== 0x0a) return 0;
      at++;
      continue;
    }
    for (const version of ["1", "2", "3"]) {
      if (startsWith(head, `version=${version}\n`, at) || startsWith(head, `version=${version}\r\n`, at)) return 100;
    }
    return 0;
  }
  return 0;
}

export const vmdk: Driver = {
  name: "vmdk",
  category: "format",
  mutableOptions: [],
  supportsBacking: true,
  // The descriptor names the extents.
  arrangeChildren(options) {
    for (const name of Object.keys(options)) if (name.startsWith("extents.")) delete options[name];
  },
  probe,
  createOptions,
  measure: measureVmdk,
  planStream: planVmdkStream,
  create,
  *open(context: OpenContext): Op<VmdkImage> {
    return yield* openImage(context, yield* context.openChild("file", "image"));
  },
};
