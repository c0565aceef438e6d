import { createInflateRaw, deflateRawSync, type InflateRaw } from "node:zlib";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { inflaterOf } from "../../../src/codec/node-inflate.js";
import { same, sample } from "./sample.js";

const PROBE = Uint8Array.of(0x4b, 0x04, 0x00);

test("one state inflates unit after unit, also behind damaged and short ones", () => {
  const inflate = inflaterOf(createInflateRaw(), PROBE)!;
  assert.ok(inflate !== null);
  for (let round = 0; round < 20; round++) {
    const plain = sample(4096 + round, round);
    const packed = deflateRawSync(plain);
    const out = new Uint8Array(plain.length);
    assert.ok(inflate(packed, out));
    same(out, plain);
    assert.not.ok(inflate(packed.subarray(0, packed.length >> 1), out), "half a stream");
    assert.not.ok(inflate(Uint8Array.of(7, 255, 255, 255), out), "no such block type");
    assert.not.ok(inflate(packed, new Uint8Array(plain.length + 1)), "one byte more than there is");
    assert.ok(inflate(packed, out.subarray(0, 100).fill(0)), "the beginning of a longer one");
    same(out.subarray(0, 100), plain.subarray(0, 100));
  }
});

test("a runtime whose streams are made otherwise offers none", () => {
  const state = new Uint32Array(2);
  const handles: unknown[] = [
    undefined,
    null,
    {},
    { reset: () => {} },
    { reset: () => {}, writeSync: () => {} }, // does nothing
    { reset: () => {}, writeSync: () => state.fill(0) }, // claims to be done
    {
      reset: () => {},
      writeSync: () => {
        throw new TypeError("other arguments");
      },
    },
  ];
  for (const _handle of handles) assert.is(inflaterOf({ _handle, _writeState: state } as unknown as InflateRaw, PROBE), null);
  assert.is(inflaterOf({ _handle: { reset: () => {}, writeSync: () => {} } } as unknown as InflateRaw, PROBE), null);
});

test.run();
