/** Ethernet addresses: six bytes. Pure. */
import { textAt } from "../lists.ts";
import { hexOf, parseHex } from "../text.ts";

/** Parses "aa:bb:cc:dd:ee:ff", "aa-bb-cc-dd-ee-ff" or "aabb.ccdd.eeff"; null if it is anything else. */
export function parseMac(text: string): Uint8Array | null {
  const separator = text.includes(".") ? "." : text.includes("-") ? "-" : ":";
  const size = separator === "." ? 2 : 1;
  const parts = text.split(separator);
  if (parts.length * size !== 6) return null;
  const bytes = new Uint8Array(6);
  for (let i = 0; i < parts.length; i += 1) {
    const part = textAt(parts, i);
    const value = part.length === size * 2 ? parseHex(part) : null;
    if (value === null) return null;
    bytes[i * size] = size === 1 ? value : value >>> 8;
    if (size === 2) bytes[i * size + 1] = value & 255;
  }
  return bytes;
}

/** An address in the spelling of `formatMac`, whatever of `parseMac`'s it has; other texts as they are. */
export function canonicalMac(text: string): string {
  const bytes = parseMac(text);
  return bytes === null ? text : formatMac(bytes);
}

/** Six bytes as "aa:bb:cc:dd:ee:ff"; "" for a link that has no such address. */
export function formatMac(bytes: Uint8Array): string {
  return bytes.length === 6 ? hexOf(bytes, ":") : "";
}

/** Whether an interface may have this address: one station's, and not all zero. */
export function isUnicastMac(bytes: Uint8Array): boolean {
  if (bytes.length !== 6 || ((bytes[0] ?? 0) & 1) === 1) return false;
  for (const byte of bytes) {
    if (byte !== 0) return true;
  }
  return false;
}

/** Words that an address takes in an Int32Array: two bytes in the first, four in the second. */
export const MAC_WORDS = 2;

/** Writes an address, of which there may be thousands, into words. */
export function putMac(words: Int32Array, at: number, mac: Uint8Array): void {
  words[at] = ((mac[0] ?? 0) << 8) | (mac[1] ?? 0);
  words[at + 1] = ((mac[2] ?? 0) << 24) | ((mac[3] ?? 0) << 16) | ((mac[4] ?? 0) << 8) | (mac[5] ?? 0);
}

export function macAt(words: Int32Array, at: number): Uint8Array {
  const high = words[at] ?? 0;
  const low = words[at + 1] ?? 0;
  return new Uint8Array([high >>> 8, high & 255, low >>> 24, (low >>> 16) & 255, (low >>> 8) & 255, low & 255]);
}
