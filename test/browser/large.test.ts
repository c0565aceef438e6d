import { browserSuite } from "./harness.js";

await browserSuite("chromium", "test/browser/large.portable.ts");
