/** Block drivers as the emulator has them: it will not run guests from images with the weak encryption of old. */
import { BlockError } from "../../../src/base/error.js";
import type { Driver } from "../../../src/block/driver.js";

export function emulatorDrivers(drivers: ReadonlyMap<string, Driver>): Map<string, Driver> {
  const mine = new Map(drivers);
  for (const name of ["qcow", "qcow2"]) {
    const driver = drivers.get(name);
    if (driver !== undefined) mine.set(name, withoutAes(driver));
  }
  return mine;
}

function withoutAes(driver: Driver): Driver {
  return {
    ...driver,
    *open(context) {
      const impl = yield* driver.open(context);
      const specific = impl.specificInfo === undefined ? undefined : yield* impl.specificInfo();
      const encrypt = specific?.data["encrypt"] as { format?: string } | undefined;
      if (encrypt?.format !== "aes" && !(driver.name === "qcow" && impl.blockInfo?.().encrypted === true)) return impl;
      yield* impl.close();
      throw new BlockError(
        "ERR_UNSUPPORTED",
        `Use of AES-CBC encrypted ${driver.name} images is no longer supported in system emulators`,
        {
          hint: `You can use 'qemu-img convert' to convert your image to an alternative supported format, such as unencrypted ${driver.name}, or raw with the LUKS format instead.`,
        },
      );
    },
  };
}
