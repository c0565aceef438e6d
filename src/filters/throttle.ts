/** `throttle`: requests wait until their throttle group lets them go. */
import { BlockError } from "../base/error.js";
import type { Driver, WriteFlags } from "../block/driver.js";
import type { Child } from "../block/node.js";
import type { Op } from "../block/op.js";
import { takeString } from "../block/take.js";
import { ThrottleMember, type ThrottleGroup } from "../block/throttle-group.js";
import { PassThrough } from "../block/pass-through.js";

class Throttle extends PassThrough {
  #member: ThrottleMember;
  constructor(child: Child, group: ThrottleGroup) {
    super(child);
    this.#member = new ThrottleMember(group);
  }
  get limiter(): ThrottleMember {
    return this.#member;
  }
  get group(): ThrottleGroup {
    return this.#member.group;
  }
  override *read(into: Uint8Array, offset: number): Op<void> {
    yield* this.#member.admit("read", into.length);
    yield* super.read(into, offset);
  }
  override *write(from: Uint8Array, offset: number, flags: WriteFlags): Op<void> {
    yield* this.#member.admit("write", from.length);
    yield* super.write(from, offset, flags);
  }
  override *writeZeroes(offset: number, length: number, flags: WriteFlags): Op<void> {
    yield* this.#member.admit("write", length);
    yield* super.writeZeroes(offset, length, flags);
  }
  override *discard(offset: number, length: number): Op<void> {
    yield* this.#member.admit("write", length);
    yield* super.discard(offset, length);
  }
  // eslint-disable-next-line require-yield
  override *close(): Op<void> {
    this.#member.leave();
  }
}

export const throttle: Driver = {
  name: "throttle",
  category: "filter",
  mutableOptions: ["throttle-group"],
  runtimeOptions: ["file", "throttle-group"],
  strongOptions: ["throttle-group"],
  *open(context) {
    const name = takeString(context.options, "throttle-group");
    if (name === undefined) throw new BlockError("ERR_INVALID_ARGUMENT", "Parameter 'throttle-group' is missing");
    const group = context.environment.findThrottleGroup?.(name) ?? null;
    if (group === null) throw new BlockError("ERR_NOT_FOUND", `Throttle group '${name}' does not exist`, { errno: "EINVAL" });
    return new Throttle(yield* context.openChild("file", "filtered"), group);
  },
};
