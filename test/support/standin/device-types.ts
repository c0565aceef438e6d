/** Guest devices that `-device` knows: those with a drive, and those that only have to be there. */

export interface DiskKind {
  /** Needs a medium from the start. */
  readonly needsMedium: boolean;
  readonly removable: boolean;
  readonly tray: boolean;
  /** Will not have a drive that cannot be written. */
  readonly writableOnly: boolean;
  readonly ioStatus: boolean;
  /** The drive belongs to a device inside this one. */
  readonly inner: string;
}

export interface DeviceType {
  readonly bus: string | null;
  readonly alias?: string;
  readonly disk?: DiskKind;
  /** Offers the bus for devices of this type: "scsi". */
  readonly offers?: string;
}

const disk: DiskKind = { needsMedium: true, removable: false, tray: false, writableOnly: false, ioStatus: true, inner: "" };
const cdrom: DiskKind = { ...disk, needsMedium: false, removable: true, tray: true };
const virtioDisk: DiskKind = { ...disk, inner: "/virtio-backend" };

export const DEVICE_TYPES: Readonly<Record<string, DeviceType>> = {
  "pcie-root-port": { bus: "PCI" },
  am53c974: { bus: "PCI", offers: "SCSI" },
  floppy: { bus: "floppy-bus", disk: { ...disk, needsMedium: false, removable: true, ioStatus: false } },
  "ide-cd": { bus: "IDE", disk: cdrom },
  "ide-hd": { bus: "IDE", disk: { ...disk, writableOnly: true } },
  "isa-fdc": { bus: "ISA" },
  lsi53c895a: { bus: "PCI", alias: "lsi", offers: "SCSI" },
  megasas: { bus: "PCI", offers: "SCSI" },
  "nec-usb-xhci": { bus: "PCI" },
  nvme: { bus: "PCI", disk: { ...disk, ioStatus: false } },
  "pci-bridge": { bus: "PCI" },
  "scsi-cd": { bus: "SCSI", disk: cdrom },
  "scsi-hd": { bus: "SCSI", disk },
  "sd-card": { bus: "sd-bus", disk: { ...disk, needsMedium: false, removable: true, ioStatus: false } },
  "usb-storage": { bus: "usb-bus", disk },
  "virtio-blk-pci": { bus: "PCI", alias: "virtio-blk", disk: virtioDisk },
  "virtio-rng-pci": { bus: "PCI", alias: "virtio-rng" },
  "virtio-scsi-pci": { bus: "PCI", alias: "virtio-scsi", offers: "SCSI" },
};

/** The type of this name or alias. */
export function findDeviceType(name: string): (DeviceType & { name: string }) | null {
  for (const [type, found] of Object.entries(DEVICE_TYPES))
    if (type === name || found.alias === name) return { ...found, name: type };
  return null;
}
