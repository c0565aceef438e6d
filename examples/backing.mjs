// Images that name other images: nothing is opened that the caller did not allow.   node examples/backing.mjs [directory]
import { createOverlay, create, MiB, open } from "blockcore/node";
import { join } from "node:path";

const dir = process.argv[2] ?? ".";
const base = join(dir, "base.qcow2");
await create(base, { format: "qcow2", size: 16 * MiB });
const overlay = await createOverlay(join(dir, "overlay.qcow2"), {
  backing: "base.qcow2",
  backingFormat: "qcow2",
  size: 16 * MiB,
});
await overlay.close();

// readme: gate
await open(join(dir, "overlay.qcow2")).catch((error) => console.log(error.code)); // ERR_DENIED
const image = await open(join(dir, "overlay.qcow2"), {
  references: ({ kind, filename }) => (kind === "backing" && filename === "base.qcow2" ? base : false),
});
// readme: end
console.log("size:", image.size);
await image.close();
