import { edgeSuite } from "./harness.js";

await edgeSuite("test/edge/runtime.portable.ts");
