/** SHA-512 (FIPS 180-4), for texts of a few dozen bytes: the reference suite names its chains by it. Pure. */
import { parseHex } from "./text.ts";

/** The round constants, and behind them the initial state: fractions of roots of primes (sections 4.2.3 and 5.3.5). */
const CONSTANTS =
  "428a2f98d728ae227137449123ef65cdb5c0fbcfec4d3b2fe9b5dba58189dbbc3956c25bf348b53859f111f1b605d019923f82a4af194f9b" +
  "ab1c5ed5da6d8118d807aa98a303024212835b0145706fbe243185be4ee4b28c550c7dc3d5ffb4e272be5d74f27b896f80deb1fe3b1696b1" +
  "9bdc06a725c71235c19bf174cf692694e49b69c19ef14ad2efbe4786384f25e30fc19dc68b8cd5b5240ca1cc77ac9c652de92c6f592b0275" +
  "4a7484aa6ea6e4835cb0a9dcbd41fbd476f988da831153b5983e5152ee66dfaba831c66d2db43210b00327c898fb213fbf597fc7beef0ee4" +
  "c6e00bf33da88fc2d5a79147930aa72506ca6351e003826f142929670a0e6e7027b70a8546d22ffc2e1b21385c26c9264d2c6dfc5ac42aed" +
  "53380d139d95b3df650a73548baf63de766a0abb3c77b2a881c2c92e47edaee692722c851482353ba2bfe8a14cf10364a81a664bbc423001" +
  "c24b8b70d0f89791c76c51a30654be30d192e819d6ef5218d69906245565a910f40e35855771202a106aa07032bbd1b819a4c116b8d2d0c8" +
  "1e376c085141ab532748774cdf8eeb9934b0bcb5e19b48a8391c0cb3c5c95a634ed8aa4ae3418acb5b9cca4f7763e373682e6ff3d6b2b8a3" +
  "748f82ee5defb2fc78a5636f43172f6084c87814a1f0ab728cc702081a6439ec90befffa23631e28a4506cebde82bde9bef9a3f7b2c67915" +
  "c67178f2e372532bca273eceea26619cd186b8c721c0c207eada7dd6cde0eb1ef57d4f7fee6ed17806f067aa72176fba0a637dc5a2c898a6" +
  "113f9804bef90dae1b710b35131c471b28db77f523047d8432caab7b40c724933c9ebe0a15c9bebc431d67c49c100d4c4cc5d4becb3e42b6" +
  "597f299cfc657e2a5fcb6fab3ad6faec6c44198c4a4758176a09e667f3bcc908bb67ae8584caa73b3c6ef372fe94f82ba54ff53a5f1d36f1" +
  "510e527fade682d19b05688c2b3e6c1f1f83d9abfb41bd6b5be0cd19137e2179";

const ROUNDS = 80;

/** Every 64-bit word is two numbers behind each other, the high half first. */
let constants: Int32Array | null = null;

/** The 64-byte digest of a text's UTF-8. */
export function sha512(text: string): Uint8Array {
  const message = padded(new TextEncoder().encode(text));
  const k = constants ?? decodeConstants();
  constants = k;
  const state = k.slice(2 * ROUNDS);
  const schedule = new Int32Array(2 * ROUNDS);
  for (let at = 0; at < message.byteLength; at += 128) {
    for (let i = 0; i < 32; i += 1) schedule[i] = message.getInt32(at + 4 * i, false);
    expand(schedule);
    compress(state, schedule, k);
  }
  const digest = new Uint8Array(64);
  const view = new DataView(digest.buffer);
  for (let i = 0; i < 16; i += 1) view.setInt32(4 * i, state[i] ?? 0, false);
  return digest;
}

/** The message, a one bit, zeros, and the message's length in bits, to a multiple of 128 bytes. */
function padded(bytes: Uint8Array): DataView {
  const length = Math.ceil((bytes.length + 17) / 128) * 128;
  const message = new Uint8Array(length);
  message.set(bytes);
  message[bytes.length] = 0x80;
  const view = new DataView(message.buffer);
  view.setUint32(length - 4, bytes.length * 8, false);
  return view;
}

function decodeConstants(): Int32Array {
  const words = new Int32Array(CONSTANTS.length / 8);
  for (let i = 0; i < words.length; i += 1) {
    words[i] = (hex16(8 * i) << 16) | hex16(8 * i + 4);
  }
  return words;
}

function hex16(at: number): number {
  return parseHex(CONSTANTS.slice(at, at + 4)) ?? 0;
}

/** Fills words 16 to 79 of the message schedule (section 6.4.2, step 1). */
function expand(w: Int32Array): void {
  for (let i = 32; i < 2 * ROUNDS; i += 2) {
    const h15 = w[i - 30] ?? 0;
    const l15 = w[i - 29] ?? 0;
    const h2 = w[i - 4] ?? 0;
    const l2 = w[i - 3] ?? 0;
    const low =
      ((rotated(l15, h15, 1) ^ rotated(l15, h15, 8) ^ rotated(l15, h15, 7)) >>> 0) +
      ((rotated(l2, h2, 19) ^ rotated(h2, l2, 29) ^ rotated(l2, h2, 6)) >>> 0) +
      ((w[i - 13] ?? 0) >>> 0) +
      ((w[i - 31] ?? 0) >>> 0);
    const high =
      (rotated(h15, l15, 1) ^ rotated(h15, l15, 8) ^ (h15 >>> 7)) +
      (rotated(h2, l2, 19) ^ rotated(l2, h2, 29) ^ (h2 >>> 6)) +
      (w[i - 14] ?? 0) +
      (w[i - 32] ?? 0);
    w[i + 1] = low;
    w[i] = high + carry(low);
  }
}

/** Works one block into the state (section 6.4.2, steps 2 to 4). */
function compress(state: Int32Array, w: Int32Array, k: Int32Array): void {
  /* a, b, ... h are at 0, 2, ... 14 */
  const s = state.slice();
  for (let i = 0; i < 2 * ROUNDS; i += 2) {
    const eh = s[8] ?? 0;
    const el = s[9] ?? 0;
    const ah = s[0] ?? 0;
    const al = s[1] ?? 0;
    const low1 =
      ((s[15] ?? 0) >>> 0) +
      ((rotated(el, eh, 14) ^ rotated(el, eh, 18) ^ rotated(eh, el, 9)) >>> 0) +
      (choose(el, s[11] ?? 0, s[13] ?? 0) >>> 0) +
      ((k[i + 1] ?? 0) >>> 0) +
      ((w[i + 1] ?? 0) >>> 0);
    const high1 =
      (s[14] ?? 0) +
      (rotated(eh, el, 14) ^ rotated(eh, el, 18) ^ rotated(el, eh, 9)) +
      choose(eh, s[10] ?? 0, s[12] ?? 0) +
      (k[i] ?? 0) +
      (w[i] ?? 0) +
      carry(low1);
    const low2 =
      ((rotated(al, ah, 28) ^ rotated(ah, al, 2) ^ rotated(ah, al, 7)) >>> 0) +
      (majority(al, s[3] ?? 0, s[5] ?? 0) >>> 0);
    const high2 =
      (rotated(ah, al, 28) ^ rotated(al, ah, 2) ^ rotated(al, ah, 7)) +
      majority(ah, s[2] ?? 0, s[4] ?? 0) +
      carry(low2);
    for (let word = 15; word > 1; word -= 1) s[word] = s[word - 2] ?? 0;
    add(s, 8, high1, low1);
    s[0] = 0;
    s[1] = 0;
    add(s, 0, high1, low1);
    add(s, 0, high2, low2);
  }
  for (let i = 0; i < 16; i += 2) add(state, i, s[i] ?? 0, (s[i + 1] ?? 0) >>> 0);
}

/** Adds to the 64-bit word at `at`; `low` may be more than 32 bits long, its excess being part of `high` already. */
function add(words: Int32Array, at: number, high: number, low: number): void {
  const sum = ((words[at + 1] ?? 0) >>> 0) + (low % 0x1_0000_0000);
  words[at] = (words[at] ?? 0) + high + carry(sum);
  words[at + 1] = sum;
}

/** What a sum of low halves has above its 32 bits. */
function carry(sum: number): number {
  return Math.floor(sum / 0x1_0000_0000);
}

/** The high half of (high, low) rotated right by 1 to 31; with the halves exchanged: the low half, or by 32 more. */
function rotated(high: number, low: number, by: number): number {
  return (high >>> by) | (low << (32 - by));
}

function choose(x: number, y: number, z: number): number {
  return (x & y) ^ (~x & z);
}

function majority(x: number, y: number, z: number): number {
  return (x & y) ^ (x & z) ^ (y & z);
}
