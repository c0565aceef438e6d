/** Numbers of the VHDX format (MS-VHDX). */
import { guidFromText } from "../../codec/guid.js";

export const KiB64 = 65536;
export const MiB = 1048576;
export const SIGNATURE = "vhdxfile";
/** Both headers. */
export const HEADER_OFFSETS: readonly [number, number] = [65536, 131072];
export const HEADER_BYTES = 4096;
/** Both copies of the region table. */
export const REGION_OFFSETS: readonly [number, number] = [196608, 262144];
/** File identifier, headers, region tables: nothing else begins before this byte. */
export const HEADER_SECTION_BYTES = 1048576;
export const LOG_SECTOR = 4096;
export const METADATA_TABLE_BYTES = 65536;

export const MAX_VIRTUAL_SIZE = 70368744177664;
export const MIN_BLOCK_SIZE = 1048576;
export const MAX_BLOCK_SIZE = 268435456;
/** Sectors that one sector bitmap block describes. */
export const CHUNK_SECTORS = 8388608;

export const BlockState = {
  notPresent: 0,
  undefined: 1,
  zero: 2,
  unmapped: 3,
  /** As drafts of the format numbered it. */
  unmappedDraft: 5,
  fullyPresent: 6,
  partiallyPresent: 7,
} as const;

type GuidName =
  | "bat"
  | "metadata"
  | "fileParameters"
  | "virtualSize"
  | "page83"
  | "logicalSector"
  | "physicalSector"
  | "parentLocator"
  | "vhdxParent";
export const Guid: Readonly<Record<GuidName, Uint8Array>> = {
  bat: /* @__PURE__ */ guidFromText("2dc27766-f623-4200-9d64-115e9bfd4a08"),
  metadata: /* @__PURE__ */ guidFromText("8b7ca206-4790-4b9a-b8fe-575f050f886e"),
  fileParameters: /* @__PURE__ */ guidFromText("caa16737-fa36-4d43-b3b6-33f0aa44e76b"),
  virtualSize: /* @__PURE__ */ guidFromText("2fa54224-cd1b-4876-b211-5dbed83bf4b8"),
  page83: /* @__PURE__ */ guidFromText("beca12ab-b2e6-4523-93ef-c309e000c746"),
  logicalSector: /* @__PURE__ */ guidFromText("8141bf1d-a96f-4709-ba47-f233a8faab5f"),
  physicalSector: /* @__PURE__ */ guidFromText("cda348c7-445d-4471-9cc9-e9885251c556"),
  parentLocator: /* @__PURE__ */ guidFromText("a8d35f2d-b30b-454d-abf7-d3d84834ab0c"),
  vhdxParent: /* @__PURE__ */ guidFromText("b04aefb7-d19e-4a81-b789-25b8e9445913"),
};

export const isNullGuid = (guid: Uint8Array): boolean => guid.every((byte) => byte === 0);
