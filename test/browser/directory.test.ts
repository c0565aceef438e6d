import { browserSuite } from "./harness.js";

await browserSuite("chromium", "test/browser/directory.portable.ts");
