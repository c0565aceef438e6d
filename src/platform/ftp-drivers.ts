/** The protocols `ftp`, `ftps` and `tftp` on Node.js, with the options of QEMU's curl driver: read-only. */
import type { Driver } from "../block/driver.js";
import { done } from "../block/op.js";
import { takeBool } from "../block/take.js";
import { curlDriver } from "./curl-driver.js";
import { ftpStorage } from "../storage/node-ftp.js";
import { tftpStorage } from "../storage/node-tftp.js";

export const ftpDrivers: readonly Driver[] = [
  curlDriver({
    name: "ftp",
    options: [],
    take: () => done(null),
    open: ({ url, ...request }) => ftpStorage(url, request),
  }),
  curlDriver({
    name: "ftps",
    options: ["sslverify"],
    take: ({ options }) => done(takeBool(options, "sslverify") ?? true),
    open: ({ url, ...request }, verify) => ftpStorage(url, { ...request, verify }),
  }),
  curlDriver({
    name: "tftp",
    options: [],
    take: () => done(null),
    open: ({ url, readAhead, timeout }) => tftpStorage(url, { readAhead, timeout }),
  }),
];
