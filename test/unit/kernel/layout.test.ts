import { test } from "uvu";
import * as assert from "uvu/assert";
import * as wasmSide from "../../../assembly/layout.js";
import * as jsSide from "../../../src/kernel/layout.js";

test("the two compilers read the same layout", () => {
  assert.equal({ ...jsSide }, { ...wasmSide });
  assert.ok(Object.keys(jsSide).length > 30);
});

test("records keep their doubles on multiples of 8", () => {
  for (const at of [
    jsSide.EXTENT_STRIDE,
    jsSide.EXTENT_HOST,
    jsSide.CENSUS_STRIDE,
    jsSide.CENSUS_NEXT_CONTIGUOUS,
    jsSide.CENSUS_HOST_END,
  ]) {
    assert.is(at % 8, 0);
  }
});

test.run();
