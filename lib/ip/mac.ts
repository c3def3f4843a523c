/** Ethernet addresses: six bytes. Pure. */
import { textAt } from "../lists.ts";
import { hexOf, parseHex } from "../text.ts";

/** Parses "aa:bb:cc:dd:ee:ff" (or with "-"); null if it is anything else. */
export function parseMac(text: string): Uint8Array | null {
  const parts = text.split(text.includes("-") ? "-" : ":");
  if (parts.length !== 6) return null;
  const bytes = new Uint8Array(6);
  for (let i = 0; i < 6; i += 1) {
    const part = textAt(parts, i);
    const value = part.length === 2 ? parseHex(part) : null;
    if (value === null) return null;
    bytes[i] = value;
  }
  return bytes;
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
