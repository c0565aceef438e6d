// How long does `blockcore info` take, over starting Node itself?     node bench/startup.mjs [rounds]
import { spawnSync } from "node:child_process";
import { BLOCKCORE, inTemporary, OURS, paired, QEMU_IMG, record, timed } from "./lib/bench.mjs";

const rounds = Number(process.argv[2] ?? 21);

await inTemporary(async (dir) => {
  spawnSync(QEMU_IMG, ["create", "-q", "-f", "qcow2", "image.qcow2", "1G"], { cwd: dir });
  const run = (program, args) => () => timed(program, args, dir).wall * 1000;
  const { node, blockcore, dropIn, qemu } = await paired(rounds, {
    node: run(process.execPath, ["-e", "0"]),
    blockcore: run(process.execPath, [BLOCKCORE, "info", "image.qcow2"]),
    dropIn: run(OURS, ["info", "image.qcow2"]),
    qemu: run(QEMU_IMG, ["info", "image.qcow2"]),
  });
  record({
    bench: "startup",
    name: "`blockcore info` over `node -e 0`",
    unit: "ms",
    ours: blockcore - node,
    target: 60,
    note: `${blockcore.toFixed(0)} ms in all, node ${node.toFixed(0)} ms, qemu-img ${qemu.toFixed(0)} ms`,
  });
  record({
    bench: "startup",
    name: "`qemu-img info` of ours over `node -e 0`",
    unit: "ms",
    ours: dropIn - node,
    target: 60,
    note: `${dropIn.toFixed(0)} ms in all`,
  });
});
