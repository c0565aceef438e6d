/**
 * Runs portable uvu files in Chromium: inside a dedicated worker, on a cross-origin isolated page of the loopback server,
 * with a profile on disk (in a private window OPFS lives in memory and lies about large sizes).
 *
 * Chromium is the system's, `$CHROMIUM` or /usr/bin/chromium, driven by playwright-core.
 */
import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { chromium, type BrowserContext, type Page } from "playwright-core";
import { loopback, type Loopback } from "../support/loopback.js";
import { bundlePortable, inTemporary, portableSuite, Unavailable } from "../support/portable-suite.js";
import type { PortableResult } from "../support/portable-uvu.js";

const ARGS = [
  "--no-sandbox",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--disable-gpu",
  "--disable-dev-shm-usage",
];

export interface Browser {
  context: BrowserContext;
  server: Loopback;
  /** Scratch directory that is removed afterwards. */
  dir: string;
  /** A new page at `path` of the loopback server; errors of the page end up in `errors`. */
  open(path: string): Promise<Page>;
  errors: string[];
}

/** Starts Chromium and the server for the time of `action`. @throws Unavailable when there is no Chromium */
export async function withBrowser<T>(action: (browser: Browser) => Promise<T>): Promise<T> {
  const executablePath = process.env["CHROMIUM"] ?? "/usr/bin/chromium";
  if (!existsSync(executablePath)) throw new Unavailable(`${executablePath} is not installed (set CHROMIUM to another)`);
  return inTemporary(async (dir) => {
    const server = await loopback();
    let context: BrowserContext | undefined;
    try {
      mkdirSync(join(dir, "profile"));
      context = await chromium.launchPersistentContext(join(dir, "profile"), { executablePath, headless: true, args: ARGS });
      const started = context;
      const errors: string[] = [];
      const open = async (path: string): Promise<Page> => {
        const page = await started.newPage();
        page.on("pageerror", (error) => errors.push(String(error)));
        page.on("console", (message) => {
          if (message.type() === "error") errors.push(message.text());
        });
        await page.goto(server.origin + path);
        return page;
      };
      return await action({ context, server, dir, open, errors });
    } finally {
      await context?.close();
      await server.close();
    }
  });
}

/**
 * Runs the uvu tests of `file` (path from the repository's root) in a worker; each becomes a test here.
 * `await` it at the top level of a test file.
 */
export async function browserSuite(title: string, file: string, limitMs = 60_000): Promise<void> {
  await portableSuite(title, () =>
    withBrowser(async (browser) => {
      const script = join(browser.dir, "worker.js");
      await bundlePortable(file, { outfile: script, runner: "test/browser/runner.ts" });
      const html = "<!doctype html><meta charset=utf-8><link rel=icon href=data:,><title>tests</title>";
      browser.server.bodies.set("/", { type: "text/html", content: new TextEncoder().encode(html) });
      browser.server.bodies.set("/worker.js", { type: "text/javascript", content: readFileSync(script) });
      const page = await browser.open("/");
      const go = { runtime: "chromium", server: browser.server.origin, limitMs };
      const answer = await page.evaluate(
        (message) =>
          new Promise<PortableResult[] | string>((resolve) => {
            const worker = new Worker("/worker.js", { type: "module" });
            worker.addEventListener("error", (event) => resolve(`the worker failed: ${event.message} (line ${event.lineno})`));
            worker.addEventListener("message", (event) => {
              if (event.data === "ready") worker.postMessage(message);
              else resolve(event.data as PortableResult[]);
            });
          }),
        go,
      );
      if (typeof answer === "string") throw new Error([answer, ...browser.errors].join("\n"));
      return answer;
    }),
  );
}
