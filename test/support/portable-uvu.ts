/**
 * The part of uvu that portable tests use, for places without Node: a browser's worker, workerd, Deno, Bun.
 *
 * The bundler puts this module in the place of `uvu` (scripts/lib/bundle.mjs). Tests are collected by `run()` and executed by
 * `runPortable()`, which returns a plain, cloneable list of results.
 */
export type Callback = (context: Record<string, unknown>) => unknown;

export interface PortableResult {
  name: string;
  state: "pass" | "fail" | "skip";
  ms: number;
  /** Failure: message and stack. Skip: the reason. */
  text: string;
}

interface Hook {
  (hook: Callback): void;
  each(hook: Callback): void;
}

export interface Test {
  (name: string, handler: Callback): void;
  only(name: string, handler: Callback): void;
  skip(name?: string, handler?: Callback): void;
  before: Hook;
  after: Hook;
  run(): void;
}

interface Suite {
  title: string;
  context: Record<string, unknown>;
  tests: { name: string; handler: Callback | null }[];
  before: Callback[];
  after: Callback[];
  beforeEach: Callback[];
  afterEach: Callback[];
  handedOver: boolean;
}

const suites: Suite[] = [];

/** As uvu's `suite`. */
export function suite(title = "", context: Record<string, unknown> = {}): Test {
  let own = fresh();
  function fresh(): Suite {
    const made: Suite = { title, context, tests: [], before: [], after: [], beforeEach: [], afterEach: [], handedOver: false };
    suites.push(made);
    return made;
  }
  const hook = (all: "before" | "after", each: "beforeEach" | "afterEach"): Hook =>
    Object.assign((callback: Callback): void => void own[all].push(callback), {
      each: (callback: Callback): void => void own[each].push(callback),
    });
  const add = (name: string, handler: Callback): void => void own.tests.push({ name, handler });
  return Object.assign(add, {
    only: (name: string): void => {
      throw new Error(`"${name}": .only is not for portable tests`);
    },
    skip: (name = "(unnamed)"): void => void own.tests.push({ name, handler: null }),
    before: hook("before", "beforeEach"),
    after: hook("after", "afterEach"),
    run: (): void => {
      own.handedOver = true;
      own = fresh();
    },
  });
}

/** As uvu's `test`. */
export const test: Test = suite();

const describe = (error: unknown): string => {
  const { message, stack, details } = error as { message?: string; stack?: string; details?: unknown };
  const head = typeof message === "string" ? message : String(error);
  return [
    head,
    typeof details === "string" ? details : "",
    stack?.includes(head) ? stack.slice(stack.indexOf(head) + head.length) : (stack ?? ""),
  ]
    .filter((part) => part !== "")
    .join("\n");
};

/** Runs what was collected, one test after another; a test that takes longer than `limitMs` fails. */
export async function runPortable(limitMs = 60_000): Promise<PortableResult[]> {
  const results: PortableResult[] = [];
  let reasons: string[] = [];
  (globalThis as { __blockcoreSkip?: (reason: string) => void }).__blockcoreSkip = (reason) => void reasons.push(reason);
  for (const own of suites) {
    const label = (name: string): string => (own.title ? `${own.title}: ${name}` : name);
    if (own.tests.length === 0) continue;
    if (!own.handedOver) {
      for (const { name } of own.tests)
        results.push({ name: label(name), state: "fail", ms: 0, text: "the suite's run() was never called" });
      continue;
    }
    const hooks = async (which: Callback[], name: string): Promise<void> => {
      for (const callback of which) await callback({ ...own.context, __suite__: own.title, __test__: name });
    };
    try {
      for (const callback of own.before) await callback(own.context);
    } catch (error) {
      results.push({ name: label("before"), state: "fail", ms: 0, text: describe(error) });
      continue;
    }
    for (const { name, handler } of own.tests) {
      const start = performance.now();
      const add = (state: PortableResult["state"], text: string): void => {
        results.push({ name: label(name), state, ms: performance.now() - start, text });
      };
      if (!handler) {
        add("skip", "test.skip()");
        continue;
      }
      reasons = [];
      let timer: ReturnType<typeof setTimeout> | undefined;
      try {
        await hooks(own.beforeEach, name);
        await Promise.race([
          handler(own.context),
          new Promise((_, reject) => {
            timer = setTimeout(() => reject(new Error(`did not end within ${limitMs / 1000} s`)), limitMs);
          }),
        ]);
        await hooks(own.afterEach, name);
        if (reasons.length > 0) add("skip", reasons.join("; "));
        else add("pass", "");
      } catch (error) {
        add("fail", describe(error));
      } finally {
        clearTimeout(timer);
      }
    }
    try {
      for (const callback of own.after) await callback(own.context);
    } catch (error) {
      results.push({ name: label("after"), state: "fail", ms: 0, text: describe(error) });
    }
  }
  return results;
}
