/** Helpers over bytes that lie anywhere in their buffer. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { isZero } from "../../../src/base/bytes.js";

test("one byte that is not zero is found wherever it is, and no neighbour is taken for one of ours", () => {
  for (let start = 0; start < 5; start++) {
    for (let length = 0; length < 23; length++) {
      const all = new Uint8Array(40).fill(1);
      const bytes = all.subarray(start, start + length).fill(0);
      assert.ok(isZero(bytes), `${length} bytes at ${start}`);
      for (let at = 0; at < length; at++) {
        bytes[at] = 0x80;
        assert.not.ok(isZero(bytes), `byte ${at} of ${length} at ${start}`);
        bytes[at] = 0;
      }
    }
  }
});

test.run();
