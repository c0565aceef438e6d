import { edgeSuite } from "./harness.js";

await edgeSuite("test/edge/http.portable.ts");
