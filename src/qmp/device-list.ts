/** The drives of a BlockCore: by name, or by the guest device in front of them. */
import { BlockError } from "../base/error.js";
import type { Device } from "./device.js";

export class DeviceList {
  readonly #devices: Device[] = [];

  /** In the order they came. */
  values(): IterableIterator<Device> {
    return this.#devices.values();
  }
  get(name: string): Device | undefined {
    return name === "" ? undefined : this.#devices.find((device) => device.name === name);
  }
  has(name: string): boolean {
    return this.get(name) !== undefined;
  }
  add(device: Device): void {
    this.#devices.push(device);
  }
  remove(device: Device): void {
    const at = this.#devices.indexOf(device);
    if (at >= 0) this.#devices.splice(at, 1);
  }

  /** The drive whose guest device has this ID or stands at this place, from the root or from among the devices that were added. */
  behind(id: string): Device | undefined {
    const place = added(id);
    return this.#devices.find(({ frontEnd }) => frontEnd !== null && (frontEnd.id === id || added(frontEnd.qdev) === place));
  }

  /**
   * What `device` or `id` of a command names.
   * @throws BlockError unless exactly one of the two is given, and there is such a drive
   */
  pick(device: string | undefined, id: string | undefined): Device {
    if ((device === undefined) === (id === undefined))
      throw new BlockError("ERR_INVALID_ARGUMENT", "Need exactly one of 'device' and 'id'");
    const found = device === undefined ? this.behind(id!) : this.get(device);
    if (found === undefined && this.#devices.some(({ frontEnd }) => id !== undefined && frontEnd?.outer === id))
      throw new BlockError("ERR_INVALID_ARGUMENT", "Device does not have a block device backend");
    if (found === undefined)
      throw new BlockError("ERR_NOT_FOUND", `Device '${device ?? id!}' not found`, { qmpClass: "DeviceNotFound" });
    return found;
  }
}

const PERIPHERAL = "/machine/peripheral/";
/** The place of a device that was added, without the way there. */
const added = (place: string): string => (place.startsWith(PERIPHERAL) ? place.slice(PERIPHERAL.length) : place);
