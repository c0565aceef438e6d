import { browserSuite } from "./harness.js";

await browserSuite("chromium", "test/browser/opfs.portable.ts");
