/** The text of the index, which holds the allocation order of a network's range sets between two calls. Pure. */

import { formatAddress, parseAddress } from "../../lib/ip/address.ts";
import { formatSpans, parseSpans, spanIndex } from "../../lib/ip/range.ts";
import { numberAt, textAt } from "../../lib/lists.ts";
import { isDigits } from "../../lib/text.ts";
import { MAX_SKIPPED, QUEUE_CAPACITY, Ring } from "./ring.ts";

/** Range sets that one index holds. A network has more only while its configuration changes, or with `ipRanges`. */
export const MAX_RINGS = 8;
/** The text fits in one page: the kernel writes that whole or not at all, also if the process is killed. */
export const INDEX_BYTES = 4096;
const HEADER = "podwire host-local index 1";

export interface Index {
  /** The ID of the boot in which it was written. */
  readonly boot: string;
  /** The modification time that the call set on the lease directory, in nanoseconds. In the text it is called "mark". */
  readonly leasesModified: string;
  /** The one used last comes first. */
  readonly rings: Ring[];
}

/** The text ends with a line of its own: the bytes that follow in the file are left from a longer text. */
export function formatIndex(index: Index): string {
  let text = `${HEADER}\nboot ${index.boot}\nmark ${index.leasesModified}\n`;
  for (const ring of index.rings) {
    const line = formatRing(ring);
    /* A set whose description is too long is not remembered. */
    if (text.length + line.length < INDEX_BYTES - 8) text += line;
  }
  return `${text}end\n`;
}

function formatRing(ring: Ring): string {
  const skipped: string[] = [];
  for (const address of ring.skipped) skipped.push(formatAddress(address));
  const fields = [
    formatSpans(ring.spans),
    ring.queue,
    formatAddress(ring.start),
    ring.cursor === null ? "-" : formatAddress(ring.cursor),
    ring.queueHead,
    ring.queueLength,
    ring.exhaustedMs,
  ];
  return `set ${fields.join(" ")} ${skipped.length === 0 ? "-" : skipped.join(",")}\n`;
}

/** Parses an index; null if the text is incomplete or no index. A set with impossible values is left out. */
export function parseIndex(text: string): Index | null {
  const lines = text.split("\n");
  const end = lines.indexOf("end");
  const boot = textAt(lines, 1);
  const modified = textAt(lines, 2);
  if (lines[0] !== HEADER || end < 3 || !boot.startsWith("boot ") || !modified.startsWith("mark ")) return null;
  const rings: Ring[] = [];
  for (const line of lines.slice(3, end)) {
    const ring = parseRing(line.split(" "));
    if (ring !== null && rings.every((other) => other.queue !== ring.queue)) rings.push(ring);
  }
  return { boot: boot.slice(5), leasesModified: modified.slice(5), rings };
}

function parseRing(fields: string[]): Ring | null {
  if (fields.length !== 9 || fields[0] !== "set") return null;
  const spans = parseSpans(textAt(fields, 1));
  const start = parseAddress(textAt(fields, 3));
  const cursor = parseAddress(textAt(fields, 4));
  if (spans === null || start === null) return null;
  const numbers: number[] = [];
  for (const at of [2, 5, 6, 7]) {
    const text = textAt(fields, at);
    if (text.length >= 16 || !isDigits(text)) return null;
    numbers.push(parseInt(text, 10));
  }
  const queue = numberAt(numbers, 0);
  const queueHead = numberAt(numbers, 1);
  const queueLength = numberAt(numbers, 2);
  if (spanIndex(spans, start) < 0 || (cursor !== null && spanIndex(spans, cursor) < 0)) return null;
  if (queue >= MAX_RINGS || queueHead >= QUEUE_CAPACITY || queueLength > QUEUE_CAPACITY) return null;
  const ring = new Ring(spans, queue, start, cursor);
  ring.queueHead = queueHead;
  ring.queueLength = queueLength;
  ring.exhaustedMs = numberAt(numbers, 3);
  for (const text of textAt(fields, 8).split(",")) {
    const address = parseAddress(text);
    if (address !== null && ring.skipped.length < MAX_SKIPPED) ring.skipped.push(address);
  }
  return ring;
}
