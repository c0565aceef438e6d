import { browserSuite } from "./harness.js";

await browserSuite("chromium", "test/browser/driver.portable.ts");
