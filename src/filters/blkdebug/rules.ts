/** The rules of a blkdebug node: what an event sets off, and which requests fail. */
import { BlockError, errnoError, type Errno } from "../../base/error.js";
import { WaitQueue, WaitRequest, type Op } from "../../block/op.js";
import { takeBool, takeEnum, takeSize, takeString } from "../../block/take.js";
import { EVENTS, IO_TYPES, type IoType } from "./events.js";

const ERRNOS: Readonly<Record<number, Errno>> = {
  1: "EPERM",
  2: "ENOENT",
  5: "EIO",
  6: "ENXIO",
  9: "EBADF",
  11: "EAGAIN",
  12: "ENOMEM",
  13: "EACCES",
  16: "EBUSY",
  17: "EEXIST",
  19: "ENODEV",
  20: "ENOTDIR",
  21: "EISDIR",
  22: "EINVAL",
  24: "EMFILE",
  25: "ENOTTY",
  27: "EFBIG",
  28: "ENOSPC",
  29: "ESPIPE",
  30: "EROFS",
  32: "EPIPE",
  33: "EDOM",
  34: "ERANGE",
  36: "ENAMETOOLONG",
  40: "ELOOP",
  75: "EOVERFLOW",
  95: "ENOTSUP",
  104: "ECONNRESET",
  108: "ESHUTDOWN",
  110: "ETIMEDOUT",
  111: "ECONNREFUSED",
  116: "ESTALE",
  123: "ENOMEDIUM",
  124: "EMEDIUMTYPE",
  125: "ECANCELED",
};
const SECTOR = 512;
/** Rules a node can have; hostile option bags end here. */
const MAX_RULES = 10000;

interface Rule {
  event: string;
  /** Counts in this state only; 0: in every one. */
  state: number;
}
interface InjectError extends Rule {
  kind: "inject-error";
  /** null: the request goes through (`errno = 0`). */
  errno: Errno | null;
  /** The byte a request must touch; -1: any request. */
  offset: number;
  once: boolean;
  types: ReadonlySet<IoType>;
}
interface SetState extends Rule {
  kind: "set-state";
  newState: number;
}
interface Suspend extends Rule {
  kind: "suspend";
  tag: string;
}
type AnyRule = InjectError | SetState | Suspend;

interface Suspended {
  tag: string;
  queue: WaitQueue;
  resumed: boolean;
}

const DEFAULT_TYPES: ReadonlySet<IoType> = new Set(IO_TYPES.filter((type) => type !== "block-status"));

export class Rules {
  #state = 1;
  /** By event, the newest rule first. */
  readonly #rules = new Map<string, AnyRule[]>();
  #count = 0;
  /** The error rules of the last event that had any. */
  #active: InjectError[] = [];
  readonly #suspended: Suspended[] = [];
  readonly #tell: (message: string) => void;

  /** @param tell hears of requests that stop and go on */
  constructor(tell: (message: string) => void) {
    this.#tell = tell;
  }

  /** Adds a rule from its options, which are taken out of the bag; what is left there is refused. */
  add(group: "inject-error" | "set-state", given: Readonly<Record<string, unknown>>): void {
    const bag = { ...given };
    const event = takeString(bag, "event");
    if (event === undefined) throw new BlockError("ERR_INVALID_ARGUMENT", "Missing event name for rule");
    if (!EVENTS.includes(event)) throw unknownEvent(event);
    const state = takeSize(bag, "state") ?? 0;
    if (group === "set-state") {
      this.#push({ kind: group, event, state, newState: takeSize(bag, "new_state") ?? 0 });
    } else {
      const number = takeSize(bag, "errno") ?? 5;
      const errno = number === 0 ? null : (ERRNOS[number] ?? "EIO");
      // -1, the default, is any request.
      const sector = bag["sector"] === -1 || bag["sector"] === "-1" ? void delete bag["sector"] : takeSize(bag, "sector");
      const once = takeBool(bag, "once") ?? false;
      // Whether the error comes at once or after a turn of the event loop makes no difference to callers here.
      takeBool(bag, "immediately");
      const type = takeEnum(bag, "iotype", IO_TYPES);
      this.#push({
        kind: group,
        event,
        state,
        errno,
        offset: sector === undefined ? -1 : sector * SECTOR,
        once,
        types: type === undefined ? DEFAULT_TYPES : new Set([type]),
      });
    }
    for (const name of Object.keys(bag)) throw new BlockError("ERR_INVALID_ARGUMENT", `Invalid parameter '${name}'`);
  }

  #push(rule: AnyRule): void {
    if (++this.#count > MAX_RULES)
      throw new BlockError("ERR_TOO_LARGE", `More than ${MAX_RULES} blkdebug rules`, { errno: "EINVAL" });
    const list = this.#rules.get(rule.event);
    if (list === undefined) this.#rules.set(rule.event, [rule]);
    else list.unshift(rule);
  }
  #remove(rule: AnyRule): void {
    const list = this.#rules.get(rule.event) ?? [];
    const index = list.indexOf(rule);
    if (index < 0) return;
    list.splice(index, 1);
    this.#count--;
  }

  /** Something reached `event`: its rules take effect, and breakpoints hold up whoever came here. */
  *event(event: string): Op<void> {
    const list = this.#rules.get(event);
    if (list === undefined || list.length === 0) return;
    let fresh: InjectError[] | null = null;
    let next = this.#state;
    const stops: Suspend[] = [];
    for (const rule of [...list]) {
      if (rule.state !== 0 && rule.state !== this.#state) continue;
      if (rule.kind === "inject-error") (fresh ??= []).unshift(rule);
      else if (rule.kind === "set-state") next = rule.newState;
      else stops.push(rule);
    }
    if (fresh !== null) this.#active = fresh;
    this.#state = next;
    for (const rule of stops) yield* this.#stop(rule);
  }

  *#stop(rule: Suspend): Op<void> {
    this.#remove(rule);
    const stopped: Suspended = { tag: rule.tag, queue: new WaitQueue(), resumed: false };
    this.#suspended.unshift(stopped);
    this.#tell(`blkdebug: Suspended request '${rule.tag}'`);
    while (!stopped.resumed) yield new WaitRequest(stopped.queue);
    this.#tell(`blkdebug: Resuming request '${rule.tag}'`);
  }

  /** Fails a request that an error rule is for. Requests without a place (flush) match rules without one. */
  check(type: IoType, offset: number, length: number): void {
    const rule = this.#active.find(
      (candidate) =>
        candidate.types.has(type) && (candidate.offset < 0 || (offset <= candidate.offset && candidate.offset < offset + length)),
    );
    if (rule === undefined || rule.errno === null) return;
    if (rule.once) {
      this.#active.splice(this.#active.indexOf(rule), 1);
      this.#remove(rule);
    }
    throw errnoError(rule.errno);
  }

  addBreakpoint(event: string, tag: string): void {
    if (!EVENTS.includes(event)) throw errnoError("ENOENT");
    this.#push({ kind: "suspend", event, state: 0, tag });
  }
  removeBreakpoint(tag: string): boolean {
    let found = false;
    for (const list of this.#rules.values()) {
      for (const rule of [...list]) {
        if (rule.kind !== "suspend" || rule.tag !== tag) continue;
        this.#remove(rule);
        found = true;
      }
    }
    while (this.resume(tag)) found = true;
    return found;
  }
  resume(tag: string): boolean {
    const index = this.#suspended.findIndex((stopped) => stopped.tag === tag);
    if (index < 0) return false;
    const [stopped] = this.#suspended.splice(index, 1);
    stopped!.resumed = true;
    stopped!.queue.wakeAll();
    return true;
  }
  isSuspended(tag: string): boolean {
    return this.#suspended.some((stopped) => stopped.tag === tag);
  }
  /** Nothing stays stopped when the node goes. */
  resumeAll(): void {
    for (const { tag } of [...this.#suspended]) this.resume(tag);
  }
}

function unknownEvent(event: string): BlockError {
  return new BlockError("ERR_INVALID_ARGUMENT", `Invalid event name "${event}"`);
}
