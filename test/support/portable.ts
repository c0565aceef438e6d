/**
 * For portable tests (`*.portable.ts`): uvu files that run inside another runtime. They must not import `node:` modules
 * unless that runtime has them, and reach the outside only through the test server.
 */
export interface Place {
  runtime: "chromium" | "workerd" | "deno" | "bun" | "node";
  /** Address of the loopback test server, without a slash at the end. */
  server: string;
}

/** Where the test runs. */
export function place(): Place {
  const found = (globalThis as { __blockcorePlace?: Place }).__blockcorePlace;
  if (!found) throw new Error("this test is for browserSuite() or edgeSuite()");
  return found;
}
