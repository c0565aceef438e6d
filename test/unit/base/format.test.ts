import { test } from "uvu";
import * as assert from "uvu/assert";
import {
  fixed,
  formatClock,
  formatDate,
  formatG,
  formatIoReport,
  formatIoSize,
  formatIoTime,
  formatSize,
  formatSnapshotTable,
} from "../../../src/base/format.js";

test("sizes as qemu-img info 7.2.22 prints them", () => {
  const cases: [number | bigint, string][] = [
    [0, "0 B"],
    [512, "512 B"],
    [1024, "1 KiB"],
    [1536, "1.5 KiB"],
    [10240, "10 KiB"],
    [65536, "64 KiB"],
    [102400, "100 KiB"],
    [123904, "121 KiB"],
    [197120, "192 KiB"],
    [1022976, "999 KiB"],
    [1024000, "0.977 MiB"],
    [1047552, "0.999 MiB"],
    [1048576, "1 MiB"],
    [1126400, "1.07 MiB"],
    [1572864, "1.5 MiB"],
    [10768384, "10.3 MiB"],
    [1048576000, "0.977 GiB"],
    [1073217536, "1 GiB"],
    [1073741824, "1 GiB"],
    [107374182400, "100 GiB"],
    [1073741824000, "0.977 TiB"],
    [1098437885952, "0.999 TiB"],
    [1100585369600, "1 TiB"],
    [1098412116148224, "999 TiB"],
    [1099511627776000, "0.977 PiB"],
    [2251799813685248, "2 PiB"],
    [8070450532247928832n, "7 EiB"],
  ];
  for (const [bytes, want] of cases) assert.is(formatSize(bytes), want);
});

test("sizes as qemu-io 7.2.22 prints them", () => {
  const cases: [number, string][] = [
    [1, "1 bytes"],
    [1000, "1000 bytes"],
    [1023, "1023 bytes"],
    [1024, "1 KiB"],
    [1025, "1.001 KiB"],
    [1536, "1.500 KiB"],
    [10000, "9.766 KiB"],
    [12800, "12.500 KiB"],
    [1024000, "1000 KiB"],
    [1048576, "1 MiB"],
    [1310720, "1.250 MiB"],
    [1610612736, "1.500 GiB"],
    [1572864000, "1.465 GiB"],
    [512.5, "512.500000 bytes"],
    [2 ** 60, "1 EiB"],
  ];
  for (const [bytes, want] of cases) assert.is(formatIoSize(bytes), want);
});

test("qemu-io's report", () => {
  assert.is(
    formatIoReport({ operation: "wrote", offset: 0, requested: 65536, done: 65536, operations: 1, seconds: 0.0009765625 }),
    "wrote 65536/65536 bytes at offset 0\n64 KiB, 1 ops; 00.00 sec (64 MiB/sec and 1024.0000 ops/sec)",
  );
  assert.is(
    formatIoReport({ operation: "read", offset: 0, requested: 1, done: 1, operations: 1, seconds: 0.0005, terse: true }),
    "1,1,0:00:00.00,2000.000,2000.000",
  );
  assert.is(formatIoTime(0.02), "00.02 sec");
  assert.is(formatIoTime(3723.456), "1:02:03.46");
});

test("%g", () => {
  const cases: [number, number, string][] = [
    [0.1, 17, "0.10000000000000001"],
    [1e300, 17, "1.0000000000000001e+300"],
    [1e-7, 17, "9.9999999999999995e-08"],
    [1e16, 17, "10000000000000000"],
    [1e17, 17, "1e+17"],
    [123456789.123456789, 17, "123456789.12345679"],
    [-0, 17, "-0"],
    [5e-324, 17, "4.9406564584124654e-324"],
    [0.0001, 17, "0.0001"],
    [0.00001, 17, "1.0000000000000001e-05"],
    [1.7976931348623157e308, 17, "1.7976931348623157e+308"],
    [12345678901234567890, 17, "1.2345678901234567e+19"],
    [-1.25e-10, 17, "-1.2500000000000001e-10"],
    [100, 17, "100"],
    [Infinity, 17, "inf"],
    [999.6, 3, "1e+03"],
    [192.5, 3, "192"],
    [193.5, 3, "194"],
    [999.5, 3, "1e+03"],
    [-2.5, 1, "-2"],
    [9.5, 1, "1e+01"],
    [0.00015, 1, "0.0001"],
    [1234, 2, "1.2e+03"],
    [99.95, 3, "100"],
    [0.5, 3, "0.5"],
  ];
  for (const [value, digits, want] of cases) assert.is(formatG(value, digits), want);
  assert.is(fixed(0.0625, 3), "0.062");
  assert.is(fixed(64.0625, 3), "64.062");
  assert.is(fixed(0.1875, 3), "0.188");
  assert.is(fixed(2.5, 0), "2");
  assert.is(fixed(9.9999, 2), "10.00");
  assert.is(fixed(-0.125, 2), "-0.12");
  assert.is(fixed(1e22, 2), "10000000000000000000000.00");
  assert.is(fixed(Infinity, 2), "inf");
});

test("snapshot table, dates and clocks", () => {
  assert.is(formatDate(1795241397, true), "2026-11-21 06:09:57");
  assert.is(formatClock(3723456000000n), "01:02:03.456");
  assert.equal(
    formatSnapshotTable(
      [
        { id: "1", name: "s1", vmStateSize: 0, dateSeconds: 1795241397, vmClockNanoseconds: 0, icount: 0 },
        {
          id: "2",
          name: "s2 long name here more than twenty",
          vmStateSize: 0,
          dateSeconds: 1795241398,
          vmClockNanoseconds: 0,
          icount: 0,
        },
      ],
      true,
    ),
    [
      "ID        TAG               VM SIZE                DATE     VM CLOCK     ICOUNT",
      "1         s1                    0 B 2026-11-21 06:09:57 00:00:00.000          0",
      "2         s2 long name here more than twenty      0 B 2026-11-21 06:09:58 00:00:00.000          0",
    ],
  );
});

test.run();
