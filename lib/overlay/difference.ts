/** From what the kernel holds to what it should hold: the fewest changes, in an order that never asks it to guess. Pure. */
import { type Entry, hostOf, isSame, keyOf } from "./entries.ts";

/** What to take away and what to put, which replaces what is there under the same key. Take away first. */
export interface Difference {
  /** Routes first, then what they need. */
  readonly remove: readonly Entry[];
  /** Routes last: a route whose gateway is not known yet would make the kernel ask for it. */
  readonly put: readonly Entry[];
}

const ORDER: readonly Entry["kind"][] = ["forwarding", "neighbour", "route"];

/**
 * Compares the entries that should be with those found.
 * @param desired no two with one key
 */
export function differenceOf(desired: readonly Entry[], found: readonly Entry[]): Difference {
  const wanted = new Map<string, number>();
  for (let i = 0; i < desired.length; i += 1) {
    const entry = desired[i];
    if (entry !== undefined) wanted.set(keyOf(entry), i);
  }
  const there: boolean[] = [];
  while (there.length < desired.length) there.push(false);
  const others: Entry[] = [];
  for (const entry of found) {
    const index = wanted.get(keyOf(entry)) ?? -1;
    const twin = desired[index];
    if (twin !== undefined && isSame(twin, entry)) there[index] = true;
    else others.push(entry);
  }
  const remove: Entry[] = [];
  /* Of what has the key but another value one is replaced by putting; a second one would stay in the way. */
  const replaced = new Set<string>();
  for (const entry of others) {
    const key = keyOf(entry);
    const index = wanted.get(key) ?? -1;
    if (index >= 0 && there[index] !== true && !replaced.has(key)) replaced.add(key);
    else remove.push(entry);
  }
  const put = desired.filter((_entry, i) => there[i] !== true);
  return { remove: inOrder(remove).reverse(), put: inOrder(put) };
}

function inOrder(entries: readonly Entry[]): Entry[] {
  const ordered: Entry[] = [];
  for (const kind of ORDER) ordered.push(...entries.filter((entry) => entry.kind === kind));
  return ordered;
}

/** Up to so many nodes may go at once without a question: small clusters change as a whole. */
export const FEW_NODES = 10;

/**
 * Whether a change would take away more than half of more than ten nodes, which is more likely somebody's mistake than
 * what happened to the cluster. The answer is the number of nodes that would go, or 0 if the change is fine.
 */
export function tooManyLost(desired: readonly Entry[], found: readonly Entry[]): number {
  const before = hostsOf(found);
  const after = hostsOf(desired);
  let lost = 0;
  for (const host of before) {
    if (!after.has(host)) lost += 1;
  }
  return before.size > FEW_NODES && lost * 2 > before.size ? lost : 0;
}

function hostsOf(entries: readonly Entry[]): Set<string> {
  const hosts = new Set<string>();
  for (const entry of entries) {
    const host = hostOf(entry);
    if (host !== "") hosts.add(host);
  }
  return hosts;
}
