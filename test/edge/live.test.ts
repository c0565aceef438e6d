import { edgeSuite } from "./harness.js";

await edgeSuite("test/edge/live.portable.ts");
