/** A planned image as a web stream: made as it is consumed, one piece ahead. */
import { BlockError } from "../base/error.js";
import type { StreamPlan } from "../block/driver.js";
import { foreign, runAsync, type Op } from "../block/op.js";

/** `ended` is called once, when all was handed out, on failure, and when the reader cancels. */
export function readablePlan(plan: StreamPlan, ended: () => Promise<void>): ReadableStream<Uint8Array> {
  let wake: (() => void) | null = null;
  let cancelled = false;
  const go = (): void => {
    wake?.();
    wake = null;
  };
  return new ReadableStream<Uint8Array>(
    {
      start(controller) {
        const put = async (bytes: Uint8Array): Promise<void> => {
          while (!cancelled && (controller.desiredSize ?? 0) <= 0) await new Promise<void>((resolve) => (wake = resolve));
          if (cancelled) throw new BlockError("ERR_ABORTED", "The stream was cancelled by its reader");
          controller.enqueue(bytes.slice());
        };
        function* to(bytes: Uint8Array): Op<void> {
          if (bytes.length > 0) yield* foreign("Writing to a stream", null, () => put(bytes));
        }
        const work = async (): Promise<void> => {
          try {
            await runAsync(plan.write(to));
          } finally {
            await ended();
          }
        };
        work().then(
          () => controller.close(),
          (error: unknown) => {
            if (!cancelled) controller.error(error);
          },
        );
      },
      pull: go,
      cancel() {
        cancelled = true;
        go();
      },
    },
    { highWaterMark: 1 },
  );
}
