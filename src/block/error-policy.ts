/** rerror and werror: what is made of an I/O error, in guest devices and in jobs. */
import type { BlockError } from "../base/error.js";

export type ErrorPolicy = "report" | "ignore" | "enospc" | "stop";
export type ErrorAction = "report" | "ignore" | "stop";

/** What a policy makes of an error. */
export function actionFor(policy: ErrorPolicy | "auto", error: BlockError): ErrorAction {
  if (policy === "enospc") return error.errno === "ENOSPC" ? "stop" : "report";
  return policy === "auto" ? "report" : policy;
}
