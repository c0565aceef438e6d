/** A transaction that is to fail: for tests of clients. */
import { BlockError } from "../../base/error.js";
import { struct } from "../../qapi/schema.js";
import { action, type Action } from "../action.js";

export const abort: Action = action({
  type: "abort",
  data: struct("Abort", {}),
  // eslint-disable-next-line require-yield
  *prepare() {
    throw new BlockError("ERR_ABORTED", "Transaction aborted using Abort action");
  },
});
