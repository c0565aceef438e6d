import { browserSuite } from "./harness.js";

await browserSuite("chromium", "test/browser/examples.portable.ts");
