/**
 * Several texts as one, each behind its length: "2:ab0:". What is kept of thousands of nodes would take four times the memory as
 * arrays of small strings. A packed text may be one of the texts of another. Pure.
 */

export function pack(texts: readonly string[]): string {
  const parts: string[] = [];
  for (const text of texts) parts.push(`${text.length}:${text}`);
  return parts.join("");
}

/** @param packed what `pack` has returned */
export function unpack(packed: string): string[] {
  const texts: string[] = [];
  let at = 0;
  while (at < packed.length) {
    const colon = packed.indexOf(":", at);
    const end = colon + 1 + parseInt(packed.slice(at, colon), 10);
    texts.push(packed.slice(colon + 1, end));
    at = end;
  }
  return texts;
}
