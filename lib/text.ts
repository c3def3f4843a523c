/** Small text functions. The runtime lacks them, or brings tables of 90 kB (regular expressions, Unicode case). Pure. */

const HEX = "0123456789abcdef";

/** Text from outside for a message, cut to one line. */
export function clip(text: string): string {
  return text.length > 80 ? `${text.slice(0, 77)}...` : text;
}

/** The text with a space for each control character: it stays one line, and moves no cursor of a terminal. */
export function withoutControls(text: string): string {
  let clean = "";
  for (let i = 0; i < text.length; i += 1) {
    const unit = text.charCodeAt(i);
    clean += unit < 0x20 || (unit >= 0x7f && unit < 0xa0) ? " " : text.charAt(i);
  }
  return clean;
}

/** Whether a text is one or more decimal digits. */
export function isDigits(text: string): boolean {
  for (let i = 0; i < text.length; i += 1) {
    const unit = text.charCodeAt(i);
    if (unit < 0x30 || unit > 0x39) return false;
  }
  return text !== "";
}

/** The text with A-Z in lower case; other characters stay. Works on bytes: they are read faster than characters. */
export function asciiLower(text: string): string {
  const bytes = new TextEncoder().encode(text);
  let capitals = 0;
  for (let i = 0; i < bytes.length; i += 1) {
    const byte = bytes[i] ?? 0;
    if (byte < 0x41 || byte > 0x5a) continue;
    bytes[i] = byte + 0x20;
    capitals += 1;
  }
  return capitals === 0 ? text : decodeUtf8(bytes);
}

/** Text from UTF-8; ill-formed sequences become U+FFFD. A byte order mark is a character like any other. */
export function decodeUtf8(bytes: Uint8Array): string {
  if (bytes.length === 0) return "";
  const text = new TextDecoder().decode(bytes);
  const marked = bytes.length >= 3 && bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf;
  return marked ? `\ufeff${text}` : text;
}

/** Bytes as lower-case hex digits, two a byte, with a separator between bytes. */
export function hexOf(bytes: Uint8Array, separator: string): string {
  let text = "";
  for (let i = 0; i < bytes.length; i += 1) {
    const byte = bytes[i] ?? 0;
    text += (i > 0 ? separator : "") + HEX.charAt(byte >> 4) + HEX.charAt(byte & 15);
  }
  return text;
}

/** A non-negative whole number below 2^32 as hex digits without leading zeros. */
export function hexNumber(value: number): string {
  let text = "";
  for (let shift = 28; shift >= 0; shift -= 4) {
    const digit = (value >>> shift) & 15;
    if (digit !== 0 || text !== "" || shift === 0) text += HEX.charAt(digit);
  }
  return text;
}

/** The value of one to four hex digits; null for anything else. */
export function parseHex(text: string): number | null {
  if (text.length === 0 || text.length > 4) return null;
  let value = 0;
  for (let i = 0; i < text.length; i += 1) {
    const digit = HEX.indexOf(asciiLower(text.charAt(i)));
    if (digit < 0) return null;
    value = value * 16 + digit;
  }
  return value;
}

/** A text as one word of a shell command: in quotes, unless it has only characters that mean nothing to a shell. */
export function shellWord(text: string): string {
  for (let i = 0; i < text.length; i += 1) {
    if (!PLAIN.includes(text.charAt(i))) return `'${text.split("'").join("'\\''")}'`;
  }
  return text === "" ? "''" : text;
}

const PLAIN = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./:@%+=,";
