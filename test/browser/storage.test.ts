import { browserSuite } from "./harness.js";

await browserSuite("chromium", "test/browser/storage.portable.ts");
await browserSuite("chromium", "test/edge/http.portable.ts");
