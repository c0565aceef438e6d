/** `ImageCheck` as text, in the layout of qemu-img check. */
import { fixed } from "../../base/format.js";
import type { ImageCheck } from "../../block/types.js";

export function repairedText(first: ImageCheck): string {
  return (
    "The following inconsistencies were found and repaired:\n\n" +
    `    ${first["leaks-fixed"] ?? 0} leaked clusters\n    ${first["corruptions-fixed"] ?? 0} corruptions\n\n` +
    "Double checking the fixed image now...\n"
  );
}

export function checkText(check: ImageCheck): string {
  const { corruptions = 0, leaks = 0 } = check;
  const errors = check["check-errors"];
  let text = "";
  if (corruptions === 0 && leaks === 0 && errors === 0) {
    text += "No errors were found on the image.\n";
  } else {
    if (corruptions > 0)
      text += `\n${corruptions} errors were found on the image.\nData may be corrupted, or further writes to the image may corrupt it.\n`;
    if (leaks > 0)
      text += `\n${leaks} leaked clusters were found on the image.\nThis means waste of disk space, but no harm to data.\n`;
    if (errors > 0) text += `\n${errors} internal errors have occurred during the check.\n`;
  }
  const total = check["total-clusters"] ?? 0;
  const allocated = check["allocated-clusters"] ?? 0;
  if (total !== 0 && allocated !== 0) {
    const share = (part: number, whole: number): string => fixed((part * 100) / whole, 2);
    text +=
      `${allocated}/${total} = ${share(allocated, total)}% allocated, ` +
      `${share(check["fragmented-clusters"] ?? 0, allocated)}% fragmented, ${share(check["compressed-clusters"] ?? 0, allocated)}% compressed clusters\n`;
  }
  if (check["image-end-offset"] !== undefined) text += `Image end offset: ${check["image-end-offset"]}\n`;
  return text;
}
