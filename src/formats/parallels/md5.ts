/** MD5 (RFC 1321), only to verify the checksum that Parallels puts on its format extension. */

const SHIFTS = [7, 12, 17, 22, 5, 9, 14, 20, 4, 11, 16, 23, 6, 10, 15, 21];
const SINES: Int32Array = /* @__PURE__ */ Int32Array.from(
  { length: 64 },
  (_, i) => Math.floor(Math.abs(Math.sin(i + 1)) * 4294967296) | 0,
);

export function md5(message: Uint8Array): Uint8Array {
  const state = new Int32Array([0x67452301, 0xefcdab89 | 0, 0x98badcfe | 0, 0x10325476]);
  const whole = message.length - (message.length % 64);
  const tail = new Uint8Array(message.length - whole < 56 ? 64 : 128);
  tail.set(message.subarray(whole));
  tail[message.length - whole] = 0x80;
  const tailView = new DataView(tail.buffer);
  tailView.setUint32(tail.length - 8, (message.length * 8) >>> 0, true);
  tailView.setUint32(tail.length - 4, Math.floor(message.length / 536870912), true);
  const view = new DataView(message.buffer, message.byteOffset, message.length);
  for (let at = 0; at < whole; at += 64) block(state, view, at);
  for (let at = 0; at < tail.length; at += 64) block(state, tailView, at);
  const digest = new Uint8Array(16);
  const out = new DataView(digest.buffer);
  for (let i = 0; i < 4; i++) out.setInt32(i * 4, state[i]!, true);
  return digest;
}

function block(state: Int32Array, view: DataView, at: number): void {
  let [a, b, c, d] = [state[0]!, state[1]!, state[2]!, state[3]!];
  for (let i = 0; i < 64; i++) {
    const round = i >> 4;
    let f: number;
    let word: number;
    if (round === 0) {
      f = (b & c) | (~b & d);
      word = i;
    } else if (round === 1) {
      f = (d & b) | (~d & c);
      word = (5 * i + 1) & 15;
    } else if (round === 2) {
      f = b ^ c ^ d;
      word = (3 * i + 5) & 15;
    } else {
      f = c ^ (b | ~d);
      word = (7 * i) & 15;
    }
    const sum = (a + f + SINES[i]! + view.getInt32(at + word * 4, true)) | 0;
    const shift = SHIFTS[round * 4 + (i & 3)]!;
    a = d;
    d = c;
    c = b;
    b = (b + ((sum << shift) | (sum >>> (32 - shift)))) | 0;
  }
  state[0] = (state[0]! + a) | 0;
  state[1] = (state[1]! + b) | 0;
  state[2] = (state[2]! + c) | 0;
  state[3] = (state[3]! + d) | 0;
}
