/** The OVF descriptor of an OVA (DSP0243): which files hold which disks. Only these parts of it are read. */
import { BlockError } from "../../base/error.js";

/** Longest descriptor that is read. */
export const MAX_OVF_BYTES = 4194304;
/** Disks or files one descriptor may name. */
const MAX_ITEMS = 10000;

export interface OvfDisk {
  id: string;
  /** Virtual size in bytes; null when the descriptor does not say it in a way that is known. */
  capacity: number | null;
  /** URL of the format. */
  format: string;
  /** File name as the descriptor has it; null for an empty disk. */
  href: string | null;
  /** Compression of the file as a whole ("gzip", "bzip2"); "" for none. */
  compression: string;
}

const BLANK = /[ \t\r\n]/;
const localName = (name: string): string => name.slice(name.indexOf(":") + 1);

/** Start tags by local name, with their attributes by local name. One pass: the text may be hostile. */
function* startTags(text: string): Generator<{ name: string; attributes: Map<string, string> }> {
  for (let at = text.indexOf("<"); at >= 0; at = text.indexOf("<", at)) {
    if (text.startsWith("<!--", at)) {
      at = text.indexOf("-->", at);
      if (at < 0) return;
      continue;
    }
    let end = at + 1;
    while (end < text.length && !BLANK.test(text[end]!) && text[end] !== ">" && text[end] !== "/" && text[end] !== "<") end++;
    const name = localName(text.slice(at + 1, end));
    const attributes = new Map<string, string>();
    at = readAttributes(text, end, attributes);
    if (name !== "") yield { name, attributes };
  }
}

/** Reads `name="value"` pairs from `at` on; returns where it stopped: at what is no attribute. */
function readAttributes(text: string, at: number, into: Map<string, string>): number {
  for (;;) {
    while (at < text.length && BLANK.test(text[at]!)) at++;
    const nameAt = at;
    while (at < text.length && /[\w:.-]/.test(text[at]!)) at++;
    const name = text.slice(nameAt, at);
    while (at < text.length && BLANK.test(text[at]!)) at++;
    if (name === "" || text[at] !== "=") return at;
    at++;
    while (at < text.length && BLANK.test(text[at]!)) at++;
    const quote = text[at];
    if (quote !== '"' && quote !== "'") return at;
    const close = text.indexOf(quote, at + 1);
    if (close < 0) return text.length;
    into.set(localName(name), unescape(text.slice(at + 1, close)));
    at = close + 1;
  }
}

const ENTITIES: Readonly<Record<string, string>> = { amp: "&", lt: "<", gt: ">", quot: '"', apos: "'" };
function unescape(text: string): string {
  return text.replace(
    /&(?:#(\d{1,7})|#x([0-9a-fA-F]{1,6})|(\w{1,8}));/g,
    (whole, decimal: string | undefined, hex: string | undefined, name: string | undefined) => {
      const code = decimal !== undefined ? Number(decimal) : hex !== undefined ? parseInt(hex, 16) : -1;
      if (code >= 0) return code <= 0x10ffff ? String.fromCodePoint(code) : whole;
      return ENTITIES[name ?? ""] ?? whole;
    },
  );
}

/** Units of DSP0004 as OVF uses them: "byte * 2^30"; none means bytes. */
function unitOf(text: string | undefined): number | null {
  if (text === undefined || text === "" || text === "byte") return 1;
  const match = /^byte\s*\*\s*(\d{1,6})(?:\s*\^\s*(\d{1,2}))?$/.exec(text.trim());
  return match === null ? null : Number(match[1]) ** Number(match[2] ?? "1");
}

export function parseOvf(text: string): OvfDisk[] {
  const files = new Map<string, Map<string, string>>();
  const disks: Map<string, string>[] = [];
  let isOvf = false;
  for (const { name, attributes } of startTags(text)) {
    if (name === "Envelope") isOvf = true;
    else if (name === "File") files.set(attributes.get("id") ?? "", attributes);
    else if (name === "Disk") disks.push(attributes);
    if (files.size > MAX_ITEMS || disks.length > MAX_ITEMS)
      throw new BlockError("ERR_TOO_LARGE", `The OVF descriptor names more than ${MAX_ITEMS} files or disks`);
  }
  if (!isOvf) throw new BlockError("ERR_NOT_THIS_FORMAT", "The OVF descriptor has no Envelope");
  return disks.map((disk): OvfDisk => {
    const reference = disk.get("fileRef");
    const file = reference === undefined ? undefined : files.get(reference);
    if (reference !== undefined && file === undefined)
      throw new BlockError("ERR_CORRUPT", `The OVF descriptor has a disk in file '${reference}', which it does not describe`);
    const unit = unitOf(disk.get("capacityAllocationUnits"));
    const capacity = unit === null ? NaN : Number(disk.get("capacity")) * unit;
    return {
      id: disk.get("diskId") ?? "",
      capacity: Number.isSafeInteger(capacity) && capacity >= 0 ? capacity : null,
      format: disk.get("format") ?? "",
      href: file?.get("href") ?? null,
      compression: file?.get("compression") ?? "",
    };
  });
}

const escape = (text: string): string =>
  text.replace(/[&<>"']/g, (character) => `&${{ "&": "amp", "<": "lt", ">": "gt", '"': "quot", "'": "apos" }[character]!};`);

export interface NewOvf {
  /** Name of the virtual machine. */
  name: string;
  diskFile: string;
  /** Bytes of the disk's file; null when it is not known yet. */
  diskFileSize: number | null;
  /** Virtual size in bytes. */
  capacity: number;
  /** Guest bytes that are stored; null when not known. */
  populated: number | null;
  cpus: number;
  memoryMiB: number;
}

/** A descriptor of a machine with one disk on a SCSI controller. */
export function formatOvf(made: NewOvf): string {
  const name = escape(made.name);
  const size = made.diskFileSize === null ? "" : ` ovf:size="${made.diskFileSize}"`;
  const populated = made.populated === null ? "" : ` ovf:populatedSize="${made.populated}"`;
  return `<?xml version="1.0" encoding="UTF-8"?>
<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1" xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1" xmlns:rasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData" xmlns:vssd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_VirtualSystemSettingData">
  <References>
    <File ovf:href="${escape(made.diskFile)}" ovf:id="file1"${size}/>
  </References>
  <DiskSection>
    <Info>Virtual disks</Info>
    <Disk ovf:capacity="${made.capacity}" ovf:capacityAllocationUnits="byte" ovf:diskId="vmdisk1" ovf:fileRef="file1" ovf:format="http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized"${populated}/>
  </DiskSection>
  <VirtualSystem ovf:id="${name}">
    <Info>A virtual machine</Info>
    <Name>${name}</Name>
    <OperatingSystemSection ovf:id="1">
      <Info>The guest operating system</Info>
    </OperatingSystemSection>
    <VirtualHardwareSection>
      <Info>Virtual hardware</Info>
      <System>
        <vssd:ElementName>Virtual Hardware Family</vssd:ElementName>
        <vssd:InstanceID>0</vssd:InstanceID>
        <vssd:VirtualSystemIdentifier>${name}</vssd:VirtualSystemIdentifier>
        <vssd:VirtualSystemType>vmx-10</vssd:VirtualSystemType>
      </System>
      <Item>
        <rasd:AllocationUnits>hertz * 10^6</rasd:AllocationUnits>
        <rasd:ElementName>${made.cpus} virtual CPU(s)</rasd:ElementName>
        <rasd:InstanceID>1</rasd:InstanceID>
        <rasd:ResourceType>3</rasd:ResourceType>
        <rasd:VirtualQuantity>${made.cpus}</rasd:VirtualQuantity>
      </Item>
      <Item>
        <rasd:AllocationUnits>byte * 2^20</rasd:AllocationUnits>
        <rasd:ElementName>${made.memoryMiB} MB of memory</rasd:ElementName>
        <rasd:InstanceID>2</rasd:InstanceID>
        <rasd:ResourceType>4</rasd:ResourceType>
        <rasd:VirtualQuantity>${made.memoryMiB}</rasd:VirtualQuantity>
      </Item>
      <Item>
        <rasd:Address>0</rasd:Address>
        <rasd:ElementName>SCSI controller 0</rasd:ElementName>
        <rasd:InstanceID>3</rasd:InstanceID>
        <rasd:ResourceSubType>lsilogic</rasd:ResourceSubType>
        <rasd:ResourceType>6</rasd:ResourceType>
      </Item>
      <Item>
        <rasd:AddressOnParent>0</rasd:AddressOnParent>
        <rasd:ElementName>Hard disk 1</rasd:ElementName>
        <rasd:HostResource>ovf:/disk/vmdisk1</rasd:HostResource>
        <rasd:InstanceID>4</rasd:InstanceID>
        <rasd:Parent>3</rasd:Parent>
        <rasd:ResourceType>17</rasd:ResourceType>
      </Item>
    </VirtualHardwareSection>
  </VirtualSystem>
</Envelope>
`;
}
