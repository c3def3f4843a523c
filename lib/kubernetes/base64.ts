/** Base64 (RFC 4648 section 4), checked: the runtime's decoder passes over what it does not know. Pure. */

const ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/** The bytes that a text encodes, with padding, in any number of lines; null if it encodes none. */
export function decodeBase64(text: string): Uint8Array | null {
  const source = new TextEncoder().encode(text);
  const values = valuesOfCharacters();
  const bytes = new Uint8Array(Math.floor((source.length * 3) / 4));
  let length = 0;
  let digits = 0;
  let padding = 0;
  let word = 0;
  for (let at = 0; at < source.length; at += 1) {
    const byte = source[at] ?? 0;
    if (byte === 0x0a || byte === 0x0d || byte === 0x20) continue;
    const value = byte === 0x3d ? 0 : (values[byte] ?? 255);
    if (value === 255 || (padding > 0 && byte !== 0x3d)) return null;
    if (byte === 0x3d) padding += 1;
    word = word * 64 + value;
    digits += 1;
    if (digits % 4 !== 0) continue;
    for (let shift = 16; shift >= 0; shift -= 8) {
      bytes[length] = (word >>> shift) & 255;
      length += 1;
    }
    word = 0;
  }
  if (digits === 0 || digits % 4 !== 0 || padding > 2) return null;
  return bytes.subarray(0, length - padding);
}

/** Each character's six bits; 255 for the others. */
function valuesOfCharacters(): Uint8Array {
  const values = new Uint8Array(256);
  for (let byte = 0; byte < 256; byte += 1) values[byte] = 255;
  for (let value = 0; value < ALPHABET.length; value += 1) values[ALPHABET.charCodeAt(value)] = value;
  return values;
}
