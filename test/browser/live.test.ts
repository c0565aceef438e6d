import { browserSuite } from "./harness.js";

await browserSuite("chromium", "test/browser/live.portable.ts");
