/** QEMU's own QMP client, `qemu.qmp` for Python, with our daemon on a Unix socket. */
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { skip } from "../support/skip.js";
import { OURS, Servers } from "./servers.js";

const { path, run, start } = new Servers("qmp-python");

/** Where the module is: installed (""), fetched by `.ci/qemu-python`, or left by the runner of QEMU's tests; null: nowhere. */
function findModule(): string | null {
  const suite = join(tmpdir(), "iotests-suite");
  const trees = existsSync(suite) ? readdirSync(suite).map((name) => join(suite, name, "python")) : [];
  for (const place of ["", join(process.cwd(), "build/qemu-python"), ...trees]) {
    const found = spawnSync("python3", ["-c", "import qemu.qmp.legacy"], { env: { ...process.env, PYTHONPATH: place } });
    if (found.status === 0) return place;
  }
  return null;
}

const SCRIPT = `
import asyncio, json, sys
from qemu.qmp import QMPClient, EventListener, ExecuteError

async def main(socket, image, target):
    client = QMPClient("test")
    await client.connect(socket)
    told = {"greeting": client.greeting.QMP.version["qemu"]["major"]}
    told["commands"] = len(await client.execute("query-commands"))
    try:
        await client.execute("blockdev-del", {"node-name": "nothing"})
    except ExecuteError as error:
        told["error"] = [error.error_class, str(error)]
    for name, driver, file in (("source", "qcow2", image), ("target", "raw", target)):
        await client.execute("blockdev-add", {"node-name": name, "driver": driver, "file": {"driver": "file", "filename": file}})
    told["nodes"] = len(await client.execute("query-named-block-nodes"))
    with client.listener({"BLOCK_JOB_COMPLETED", "JOB_STATUS_CHANGE"}) as listener:
        await client.execute("blockdev-backup", {"job-id": "j", "device": "source", "target": "target", "sync": "full"})
        states = []
        async for event in listener:
            if event["event"] == "BLOCK_JOB_COMPLETED":
                told["completed"] = event["data"]
            else:
                states.append(event["data"]["status"])
                if states[-1] == "null":
                    break
    told["states"] = states
    # Many at a time, answered each with its own id.
    answers = await asyncio.gather(*[client.execute("query-version") for _ in range(20)])
    told["same"] = all(answer == answers[0] for answer in answers)
    await client.disconnect()
    print(json.dumps(told))

asyncio.run(main(*sys.argv[1:]))
`;

const LEGACY = `
import sys
from qemu.qmp.legacy import QEMUMonitorProtocol
monitor = QEMUMonitorProtocol(sys.argv[1])
monitor.connect()
assert monitor.cmd("query-block-jobs") == {"return": []}
assert monitor.cmd("quit") == {"return": {}}
monitor.close()
`;

test("commands, errors, events, many at a time; the old interface and quit", async () => {
  const place = findModule();
  if (place === null) return skip("the Python module qemu.qmp is not installed (.ci/qemu-python fetches it)");
  run(`${OURS}/qemu-img`, "create", "-q", "-f", "qcow2", "a.qcow2", "4M");
  run(`${OURS}/qemu-io`, "-c", "write -q -P 3 1M 1M", "a.qcow2");
  run(`${OURS}/qemu-img`, "create", "-q", "-f", "raw", "b.raw", "4M");
  const socket = path("m.sock");
  const daemon = await start(
    "m.sock",
    `${OURS}/qemu-storage-daemon`,
    ...["--chardev", `socket,id=c,path=${socket},server=on,wait=off`, "--monitor", "c"],
  );
  const python = (script: string, ...args: string[]): string => {
    writeFileSync(path("script.py"), script);
    const done = spawnSync("python3", [path("script.py"), ...args], {
      encoding: "utf8",
      timeout: 60_000,
      env: { ...process.env, PYTHONPATH: place },
    });
    assert.is(done.status, 0, done.stderr);
    return done.stdout;
  };
  const told = JSON.parse(python(SCRIPT, socket, path("a.qcow2"), path("b.raw"))) as Record<string, unknown>;
  assert.is(told["greeting"], 7);
  assert.ok((told["commands"] as number) > 50);
  assert.equal(told["error"], ["GenericError", "Failed to find node with node-name='nothing'"]);
  assert.is(told["nodes"], 4);
  assert.equal(told["completed"], { device: "j", len: 4194304, offset: 4194304, speed: 0, type: "backup" });
  // It may pause for a moment while the graph changes.
  const states = (told["states"] as string[]).filter((state, i, all) => state !== "paused" && all[i - 1] !== "paused");
  assert.equal(states, ["created", "running", "waiting", "pending", "concluded", "null"]);
  assert.is(told["same"], true);
  const ended = new Promise((resolve) => daemon.once("exit", resolve));
  python(LEGACY, socket);
  await Promise.race([
    ended,
    new Promise((_, reject) => setTimeout(() => reject(new Error("quit does not end it")), 20_000).unref()),
  ]);
});

test.run();
