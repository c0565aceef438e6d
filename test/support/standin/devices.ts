/** Guest devices in front of drives, as far as drives and monitors see them. */
import { BlockError } from "../../../src/base/error.js";
import { drained } from "../../../src/block/graph.js";
import type { Node } from "../../../src/block/node.js";
import type { Op } from "../../../src/block/op.js";
import { checkPermissions } from "../../../src/block/permissions.js";
import type { JsonObject } from "../../../src/qapi/json.js";
import { checkId } from "../../../src/qapi/options.js";
import type { BlockCore } from "../../../src/qmp/block-core.js";
import type { Device, FrontEnd } from "../../../src/qmp/device.js";
import { findDeviceType, type DeviceType, type DiskKind } from "./device-types.js";

const fail = (message: string): BlockError => new BlockError("ERR_INVALID_ARGUMENT", message);

interface Present {
  readonly type: DeviceType & { name: string };
  readonly id: string | null;
  readonly path: string;
  readonly iothread: string | null;
  /** The drive behind it. */
  readonly device: Device | null;
  /** What has the bus that it is on. */
  readonly adapter: Present | null;
  /** The guest was asked to let go of it, and has not yet. */
  leaving: boolean;
}

export class GuestDevices {
  readonly #core: BlockCore;
  readonly #present = new Map<string, Present>();
  #anonymous = 0;
  #unattached = 20;

  constructor(core: BlockCore) {
    this.#core = core;
  }

  /** `-device`, `device_add`. */
  *add(options: JsonObject): Op<void> {
    if (options["driver"] === undefined) throw fail("Parameter 'driver' is missing");
    const driver = String(options["driver"]);
    const type = findDeviceType(driver);
    if (type === null) throw fail(`'${driver}' is not a valid device model name`);
    const id = options["id"] === undefined ? null : String(options["id"]);
    if (id !== null) checkId(id);
    if (id !== null && this.#present.has(id)) throw fail(`Duplicate device ID '${id}'`);
    const iothread = this.#iothreadOf(type, options);
    const path = id === null ? `/machine/peripheral-anon/device[${this.#anonymous++}]` : `/machine/peripheral/${id}`;
    const device = type.disk === undefined ? null : yield* this.#addDisk(type, type.disk, options, { id, path, iothread });
    this.#present.set(id ?? path, { type, id, path, iothread, device, adapter: this.#adapterOf(type, options), leaving: false });
  }

  #find(id: string): Present {
    const found =
      this.#present.get(id) ??
      [...this.#present.values()].find(({ path }) => path === id || path === `/machine/peripheral/${id}`);
    if (found === undefined) throw new BlockError("ERR_NOT_FOUND", `Device '${id}' not found`, { qmpClass: "DeviceNotFound" });
    return found;
  }

  /** `device_del`: what is on the PCI bus goes when the guest lets go of it, which it does at the next reset only. */
  *remove(id: string): Op<void> {
    const found = this.#find(id);
    if (found.leaving) throw fail(`Device ${id} is already in the process of unplug`);
    if (found.type.bus === "IDE" || found.type.bus === "floppy-bus")
      throw fail(`Bus '${found.type.bus}' does not support hotplugging`);
    if (found.type.bus === "PCI") found.leaving = true;
    else yield* this.#unplug(found);
  }

  /** `system_reset`. */
  *reset(): Op<void> {
    for (const { device } of this.#present.values()) {
      const root = device?.backend.root ?? null;
      // Nothing that the devices have begun goes on afterwards.
      if (root !== null) yield* drained(root, nothing);
    }
    for (const each of [...this.#present.values()]) if (each.leaving) yield* this.#unplug(each);
  }

  *#unplug(gone: Present): Op<void> {
    for (const each of [...this.#present.values()]) if (each.adapter === gone) yield* this.#unplug(each);
    const { id, path, device } = gone;
    if (device !== null) yield* this.#letGo(device);
    this.#present.delete(id ?? path);
    const inner = gone.type.disk?.inner ?? "";
    if (inner !== "") this.#core.emit("DEVICE_DELETED", { path: path + inner });
    this.#core.emit("DEVICE_DELETED", { ...(id === null ? {} : { device: id }), path });
  }

  /** Drives that came for their device, by `-drive` or with it, go with it. */
  *#letGo(device: Device): Op<void> {
    const core = this.#core;
    const { root } = device.backend;
    core.detachDevice(device);
    if (device.name !== "" && device.place === null) return;
    if (root !== null) for (const job of core.jobs.on(root)) job.cancel(false);
    yield* core.removeDevice(device);
  }

  /** The drive or node behind a device (`qom-get`). */
  driveNameOf(path: string): string {
    const { backend, name } = this.#diskAt(path);
    return name === "" ? (backend.root?.nodeName ?? "") : name;
  }
  /** Puts a device on another node (`qom-set`). */
  *setDrive(path: string, nodeName: string): Op<void> {
    const { backend } = this.#diskAt(path);
    const from = backend.root;
    const to = this.#core.node(nodeName);
    if (from === null) throw fail("Device has no medium");
    yield* drained(from, function* () {
      backend.nodeReplaced(to.ref());
      try {
        checkPermissions(to);
      } catch (error) {
        backend.nodeReplaced(from);
        yield* to.unref();
        throw error;
      }
    });
    yield* from.unref();
  }
  #diskAt(path: string): Device {
    const { device, type } = this.#find(path);
    if (device === null) throw fail(`Property '${type.name}.drive' not found`);
    return device;
  }

  /** A drive that has its place on the board (`if=ide`). */
  attachToBoard(device: Device): void {
    const { place } = device;
    if (place === null || place.interface === "none") return;
    const types: Partial<Record<string, string>> = {
      ide: place.media === "cdrom" ? "ide-cd" : "ide-hd",
      virtio: "virtio-blk-pci",
      floppy: "floppy",
    };
    if (place.interface === "pflash" && place.unit < 2) {
      this.#core.attachDevice(device, {
        id: null,
        qdev: `/machine/system.flash${place.unit}`,
        removable: false,
        tray: false,
        ioStatus: false,
      });
      return;
    }
    const type = findDeviceType(types[place.interface] ?? "");
    if (type?.disk === undefined)
      throw fail(`machine type does not support if=${place.interface},bus=${place.bus},unit=${place.unit}`);
    const path =
      place.interface === "virtio"
        ? `/machine/peripheral-anon/device[${this.#anonymous++}]`
        : `/machine/unattached/device[${this.#unattached++}]`;
    this.#check(type.disk, device);
    this.#core.attachDevice(device, frontEnd(type.disk, null, path));
  }

  *#addDisk(
    type: DeviceType & { name: string },
    kind: DiskKind,
    options: JsonObject,
    { id, path, iothread }: { id: string | null; path: string; iothread: string | null },
  ): Op<Device> {
    const device = this.#driveOf(type, kind, options);
    try {
      const { root } = device.backend;
      if (root !== null) this.#checkThread(type, root, iothread, options);
      this.#check(kind, device);
      const writeCache = options["write-cache"];
      if (root !== null && (writeCache === "on" || writeCache === "off"))
        root.flags = { ...root.flags, writethrough: writeCache === "off" };
      this.#core.attachDevice(device, frontEnd(kind, id, path), options["share-rw"] === "on" || options["share-rw"] === true);
      return device;
    } catch (error) {
      if (device.name === "" && device.frontEnd === null) yield* this.#core.removeDevice(device);
      throw error;
    }
  }

  #check(kind: DiskKind, device: Device): void {
    if (kind.needsMedium && device.backend.root === null) throw fail("Device needs media, but drive is empty");
    if (kind.writableOnly && (device.root.readOnly || device.backend.root?.staysReadOnly === true))
      throw fail("Block node is read-only");
  }

  #driveOf(type: { name: string }, kind: DiskKind, options: JsonObject): Device {
    const core = this.#core;
    const policy = (name: "rerror" | "werror"): object => (options[name] === undefined ? {} : { [name]: String(options[name]) });
    const anonymous = { anonymous: true, ...policy("rerror"), ...policy("werror") };
    const name = options["drive"];
    if (name === undefined) {
      if (kind.needsMedium) throw fail("drive property not set");
      return core.addDevice("", null, anonymous);
    }
    const found = core.devices.get(String(name));
    if (found !== undefined) return found;
    const node = core.nodes.find(String(name));
    if (node === null) throw fail(`Property '${type.name}.drive' can't find value '${String(name)}'`);
    return core.addDevice("", node, { ...anonymous, readOnly: kind.tray || node.staysReadOnly });
  }

  /** Devices of one node must be in one thread. */
  #checkThread(type: DeviceType, node: Node, iothread: string | null, options: JsonObject): void {
    const others = [...this.#present.values()].filter(({ device }) => device?.backend.root === node);
    const taken = others.find((other) => other.iothread !== null)?.iothread;
    if (taken === undefined) return;
    const adapter = this.#adapterOf(type, options);
    if (adapter !== null && adapter.type.name !== "virtio-scsi-pci") throw fail("HBA does not support iothreads");
    if (adapter === null || iothread !== taken) throw fail("Cannot change iothread of active block backend");
  }

  #adapterOf(type: DeviceType, options: JsonObject): Present | null {
    if (type.bus !== "SCSI") return null;
    const bus = options["bus"] === undefined ? null : String(options["bus"]).replace(/\.\d+$/, "");
    if (bus !== null) return this.#present.get(bus) ?? null;
    return [...this.#present.values()].find((other) => other.type.offers === "SCSI") ?? null;
  }

  #iothreadOf(type: DeviceType, options: JsonObject): string | null {
    if (type.bus === "SCSI") {
      const adapter = this.#adapterOf(type, options);
      if (adapter === null)
        throw fail(options["bus"] === undefined ? "No 'SCSI' bus found for device" : `Bus '${String(options["bus"])}' not found`);
      return adapter.iothread;
    }
    return options["iothread"] === undefined ? null : String(options["iothread"]);
  }
}

function* nothing(): Op<void> {}

function frontEnd(kind: DiskKind, id: string | null, path: string): FrontEnd {
  const { removable, tray, ioStatus, inner } = kind;
  const isInner = inner !== "";
  const outer = isInner && id !== null ? { outer: id } : {};
  return { id: isInner ? null : id, qdev: isInner || id === null ? path + inner : id, ...outer, removable, tray, ioStatus };
}
