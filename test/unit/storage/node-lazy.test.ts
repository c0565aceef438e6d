/** The native library costs nothing where it is not needed. A file of its own: once loaded, it stays. */
import { writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { openFileStorage } from "../../../src/storage/node-fs.js";
import { nativeFiles } from "../../../src/storage/node-native.js";
import { tempPath } from "../../support/temp.js";

const loaded = (): boolean => Object.keys(createRequire(import.meta.url).cache).some((path) => path.includes("koffi"));

test("opening, reading and writing without locks load nothing", () => {
  const path = tempPath();
  writeFileSync(path, new Uint8Array(10000));
  const file = openFileStorage(path, { locking: "off" });
  file.sync!.read(new Uint8Array(100), 0);
  file.sync!.write(new Uint8Array(100), 20000);
  file.sync!.truncate(5000);
  file.sync!.flush();
  file.sync!.allocatedSize!();
  file.sync!.close();
  assert.not(loaded());
  if (nativeFiles() !== null) assert.ok(loaded(), "the look is able to see it");
});

test.run();
