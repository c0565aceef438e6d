/** Throttle groups by name: objects of the user (object-add), and those that exist for as long as a drive is in them. */
import type { Clock } from "../base/clock.js";
import { BlockError } from "../base/error.js";
import type { Backend } from "../block/backend.js";
import { noLimits, type ThrottleLimits } from "../block/throttle.js";
import { ThrottleGroup, ThrottleMember } from "../block/throttle-group.js";

export class ThrottleGroupList {
  readonly #clock: Clock;
  readonly #groups = new Map<string, ThrottleGroup>();
  /** Names of groups that are objects: they stay when they are empty. */
  readonly #objects = new Set<string>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  find(name: string): ThrottleGroup | null {
    const group = this.#groups.get(name);
    if (group === undefined) return null;
    if (group.members > 0 || this.#objects.has(name)) return group;
    this.#groups.delete(name);
    return null;
  }

  addObject(name: string, limits: ThrottleLimits): void {
    if (this.find(name) !== null) throw new BlockError("ERR_EXISTS", "A group with this name already exists");
    this.#groups.set(name, new ThrottleGroup(name, limits, this.#clock));
    this.#objects.add(name);
  }
  removeObject(name: string): void {
    if ((this.find(name)?.members ?? 0) > 0) throw new BlockError("ERR_BUSY", `object '${name}' is in use, can not be deleted`);
    this.#objects.delete(name);
    this.#groups.delete(name);
  }

  /** Puts a drive into a group, which is made when there is none of that name. */
  join(backend: Backend, name: string): ThrottleGroup {
    if (backend.throttle?.group.name === name) return backend.throttle.group;
    const found = this.find(name) ?? new ThrottleGroup(name, noLimits(), this.#clock);
    this.#groups.set(name, found);
    const before = backend.throttle;
    backend.throttle = new ThrottleMember(found);
    before?.leave();
    return found;
  }
  /** Lets everything go at once: the graph is about to close. */
  release(): void {
    for (const group of this.#groups.values()) group.limits = noLimits();
  }
  leave(backend: Backend): void {
    backend.throttle?.leave();
    backend.throttle = null;
  }
}
