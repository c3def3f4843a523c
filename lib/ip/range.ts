/** Ranges of addresses as a pool from which addresses are allocated in a circle. Pure. */
import { itemAt } from "../lists.ts";
import {
  type Address,
  compareAddresses,
  formatAddress,
  type Prefix,
  parseAddress,
  rangeSize,
  step,
} from "./address.ts";

/** The addresses from `first` to `last`, both included. */
export interface Span {
  readonly first: Address;
  readonly last: Address;
}

/** The part of a network from which addresses are handed out, and the gateway that those who get one use; null for none. */
export interface Range extends Span {
  readonly subnet: Prefix;
  readonly gateway: Address | null;
}

/** Which of the spans holds the address; -1 if none does. */
export function spanIndex(spans: readonly Span[], address: Address): number {
  let index = 0;
  for (const span of spans) {
    if (spanHolds(span, address)) return index;
    index += 1;
  }
  return -1;
}

function spanHolds(span: Span, address: Address): boolean {
  return compareAddresses(span.first, address) <= 0 && compareAddresses(address, span.last) <= 0;
}

/** Whether two spans share an address. */
export function spansMeet(a: Span, b: Span): boolean {
  return spanHolds(a, b.first) || spanHolds(b, a.first);
}

/** "A-B,C-D": what messages call a range set, and what tells one set from another on disk. */
export function formatSpans(spans: readonly Span[]): string {
  const texts: string[] = [];
  for (const span of spans) texts.push(`${formatAddress(span.first)}-${formatAddress(span.last)}`);
  return texts.join(",");
}

/** The reverse of `formatSpans`; null if the text is anything else. */
export function parseSpans(text: string): Span[] | null {
  const spans: Span[] = [];
  for (const part of text.split(",")) {
    const dash = part.indexOf("-");
    const first = parseAddress(part.slice(0, Math.max(0, dash)));
    const last = parseAddress(part.slice(dash + 1));
    if (dash < 0 || first === null || last === null || first.family !== last.family) return null;
    spans.push({ first, last });
  }
  return spans;
}

/** The address after one in the walk through all spans, which ends where it began; the first one if it is in none. */
export function nextAddress(spans: readonly Span[], address: Address): Address {
  const index = spanIndex(spans, address);
  const span = itemAt(spans, index);
  if (span !== null && compareAddresses(address, span.last) < 0) return step(address, 1);
  const following = itemAt(spans, (index + 1) % spans.length);
  return following === null ? address : following.first;
}

/** Whether a walk that began at `start` and stands at `cursor` has the address still before it. All three are in spans. */
export function isAhead(spans: readonly Span[], start: Address, cursor: Address, address: Address): boolean {
  const cursorWrapped = walkOrder(spans, cursor, start) < 0;
  const addressWrapped = walkOrder(spans, address, start) < 0;
  if (cursorWrapped !== addressWrapped) return addressWrapped;
  return walkOrder(spans, address, cursor) >= 0;
}

/** Orders two addresses as a walk from the first span's first address meets them. */
function walkOrder(spans: readonly Span[], a: Address, b: Address): number {
  const difference = spanIndex(spans, a) - spanIndex(spans, b);
  return difference !== 0 ? difference : compareAddresses(a, b);
}

/** The gateway of any of the ranges: none of them is handed out. */
export function isGateway(ranges: readonly Range[], address: Address): boolean {
  for (const range of ranges) {
    if (range.gateway !== null && compareAddresses(range.gateway, address) === 0) return true;
  }
  return false;
}

/** How many addresses a set of ranges can hand out: all but the gateways. Rounded from 2^53 on. */
export function usableAddresses(ranges: readonly Range[]): number {
  const gateways: string[] = [];
  let total = 0;
  for (const range of ranges) {
    total += rangeSize(range.first, range.last);
    if (range.gateway === null) continue;
    const gateway = formatAddress(range.gateway);
    if (spanIndex(ranges, range.gateway) >= 0 && !gateways.includes(gateway)) gateways.push(gateway);
  }
  return total - gateways.length;
}
