// A web page: look inside an image the user picked; nothing of it is loaded but what is read.
import { blobStorage, openReader, qcow2Reader, rawReader } from "blockcore/reader";

/** @param {File} file from <input type="file"> */
export async function inspect(file) {
  // readme: page
  const image = await openReader(blobStorage(file), { formats: [qcow2Reader, rawReader] });
  const bootSector = await image.read(0, 512);
  const bootable = bootSector[510] === 0x55 && bootSector[511] === 0xaa;
  console.log(image.format, image.size, bootable ? "bootable" : "not bootable");
  const download = new Response(image.stream()); // the guest's disk as a raw stream
  // readme: end
  return { format: image.format, size: image.size, bootable, download };
}
