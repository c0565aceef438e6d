/**
 * What `import … from "uvu"` means under `npm test`: uvu itself, plus a report of every test to the parent process.
 *
 * The report (JSON lines, file named by BLOCKCORE_TEST_REPORT) is written as things happen, so that the parent knows which
 * test was running when a process died or was killed. Without that variable nothing is added but the time limit.
 */
import { appendFileSync } from "node:fs";
import { suite as realSuite, test as realTest, type Callback, type Test } from "uvu";

export type { Callback, Test } from "uvu";
export { exec } from "uvu";

const report = process.env["BLOCKCORE_TEST_REPORT"];
const limitMs = Number(process.env["BLOCKCORE_TEST_LIMIT_MS"] ?? 60_000);
const tell = (event: Record<string, unknown>): void => {
  if (report) appendFileSync(report, `${JSON.stringify(event)}\n`);
};

let reasons: string[] = [];
(globalThis as { __blockcoreSkip?: (reason: string) => void }).__blockcoreSkip = (reason) => {
  reasons.push(reason);
};

let nextId = 0;

function wrap<T>(real: Test<T>, suiteName: string): Test<T> {
  /** Registered but not handed to uvu by run() yet. */
  let pending: number[] = [];
  const timed = (name: string, id: number, handler: Callback<T>): Callback<T> => {
    return async (context) => {
      const start = performance.now();
      reasons = [];
      tell({ event: "start", id });
      let timer: ReturnType<typeof setTimeout> | undefined;
      try {
        await Promise.race([
          handler(context),
          new Promise((_, reject) => {
            timer = setTimeout(() => reject(new Error(`"${name}" did not end within ${limitMs / 1000} s`)), limitMs);
          }),
        ]);
        tell(
          reasons.length > 0
            ? { event: "skip", id, reason: reasons.join("; ") }
            : { event: "pass", id, ms: performance.now() - start },
        );
      } catch (error) {
        tell({ event: "fail", id, message: String((error as Error)?.message ?? error) });
        throw error;
      } finally {
        clearTimeout(timer);
      }
    };
  };
  const register = (name: string): number => {
    const id = nextId++;
    pending.push(id);
    tell({ event: "test", id, suite: suiteName, name });
    return id;
  };
  const add = (name: string, handler: Callback<T>): void => {
    real(name, timed(name, register(name), handler));
  };
  const wrapped = Object.assign(add, {
    only: (name: string, handler: Callback<T>): void => {
      tell({ event: "only", suite: suiteName, name });
      real.only(name, timed(name, register(name), handler));
    },
    skip: (name?: string): void => {
      const id = register(name ?? "(unnamed)");
      tell({ event: "skip", id, reason: "test.skip()" });
      real.skip();
    },
    before: real.before,
    after: real.after,
    run: (): void => {
      tell({ event: "run", ids: pending });
      pending = [];
      real.run();
    },
  });
  return wrapped as unknown as Test<T>;
}

/** As uvu's `suite`. */
export function suite<T = Record<string, unknown>>(title?: string, context?: T): Test<T> {
  return wrap(realSuite<T>(title, context), title ?? "");
}

/** As uvu's `test`. */
export const test: Test = wrap(realTest, "");
