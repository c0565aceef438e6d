/** NBD in the library: a block graph that serves a MessagePort, and an image opened over one. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import {
  BlockCore,
  listNbdExports,
  messageDuplex,
  NbdClient,
  nbdStorage,
  open,
  type MessageChannelLike,
} from "../../../src/node.js";

test("an export over MessagePorts, opened as an image", async () => {
  const core = new BlockCore();
  await core.execute("blockdev-add", { driver: "null-co", "node-name": "n0", size: 1024 * 1024, "read-zeroes": true });
  await core.startNbd({ maxConnections: 2 });
  await core.execute("block-export-add", { type: "nbd", id: "e0", "node-name": "n0", name: "disk", writable: true });
  const connect = (): MessageChannelLike => {
    const { port1, port2 } = new MessageChannel();
    void core.serveNbd(messageDuplex(port1 as never));
    return port2 as never;
  };
  const [found] = await listNbdExports(messageDuplex(connect()));
  assert.is(found!.name, "disk");
  assert.is(found!.size, 1024 * 1024);
  const storage = await nbdStorage({
    name: "nbd over a port",
    readOnly: false,
    connect: () => NbdClient.connect(messageDuplex(connect()), { exportName: "disk" }),
  });
  const image = await open(storage, { format: "raw", writable: true });
  assert.is(image.size, 1024 * 1024);
  await image.write(new Uint8Array(4096), 8192);
  assert.equal(await image.read(0, 16), new Uint8Array(16));
  await image.close();
  await storage.async!.close();
  await core.close();
});

test.run();
