/** FNV-1a with 32 bits: a hash that is quick and the same on every machine. Not for secrets. Pure. */
export const FNV1A_OFFSET = 0x811c9dc5;
const PRIME = 0x01000193;

/** The hash of what `hash` is of, and one byte more. */
export function fnv1aByte(hash: number, byte: number): number {
  return Math.imul(hash ^ byte, PRIME);
}

/** The same with the four bytes of a word, the highest first. */
export function fnv1aWord(hash: number, word: number): number {
  const first = Math.imul(hash ^ (word >>> 24), PRIME);
  const second = Math.imul(first ^ ((word >>> 16) & 255), PRIME);
  const third = Math.imul(second ^ ((word >>> 8) & 255), PRIME);
  return Math.imul(third ^ (word & 255), PRIME);
}
