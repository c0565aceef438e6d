// Node.js: make an image, write to it, look at it, convert it.   node examples/node.mjs [directory]
import { convert, create, MiB, open } from "blockcore/node";
import { join } from "node:path";

const dir = process.argv[2] ?? ".";
const file = join(dir, "disk.qcow2");

// readme: node
await create(file, { format: "qcow2", size: 64 * MiB });
const image = await open(file, { writable: true });
await image.write(new TextEncoder().encode("hello, disk"), 1 * MiB);
for await (const extent of image.extents()) if (extent.data) console.log("data at", extent.start, "length", extent.length);
await convert(image, join(dir, "small.qcow2"), { format: "qcow2", compress: true });
// readme: end

await image.flush();
const report = await image.check();
console.log("errors:", report.checkErrors + (report.corruptions ?? 0), "leaks:", report.leaks ?? 0);
await image.close();
