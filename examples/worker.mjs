// A dedicated worker of a web page: a writable image in the origin private file system, every call synchronous.
import { closeStorage, create, MiB, openOpfs, openSync } from "blockcore/worker";

export async function work() {
  // readme: worker
  const root = await navigator.storage.getDirectory();
  const file = await openOpfs(await root.getFileHandle("disk.qcow2", { create: true }));
  await create(file, { format: "qcow2", size: 64 * MiB });
  const image = openSync(file, { format: "qcow2", writable: true });
  image.write(new TextEncoder().encode("hello from OPFS"), 0);
  const text = new TextDecoder().decode(image.read(0, 15));
  image.close();
  await closeStorage(file);
  // readme: end
  return text;
}
