/**
 * Matching of regular expressions: the executables have none by themselves. A pattern is a program for a set of positions
 * (Thompson's construction), so the time is the product of both lengths, whatever the pattern is. Pure.
 */
import { itemAt, numberAt } from "../../lib/lists.ts";

/** A set of characters: ranges of UTF-16 code units, two numbers each; or all but those. */
export interface CharacterSet {
  readonly ranges: readonly number[];
  readonly negated: boolean;
}

/** One step: takes a character of a set, goes on at `next` (and at `other`) without one, or ends. */
export interface Step {
  readonly kind: "set" | "fork" | "begin" | "end" | "match";
  readonly set: CharacterSet;
  next: number;
  other: number;
}

/** A compiled pattern. */
export interface Pattern {
  readonly text: string;
  readonly steps: readonly Step[];
  readonly start: number;
}

/** Whether a pattern matches anywhere in a text; "^" and "$" tie it to the ends. */
export function matches(pattern: Pattern, text: string): boolean {
  const { steps } = pattern;
  const seen = new Int32Array(steps.length);
  let current: number[] = [];
  for (let at = 0; at <= text.length; at += 1) {
    const place = { seen, round: at + 1, atBegin: at === 0, atEnd: at === text.length };
    const reached: number[] = [];
    for (const index of current) reach(steps, index, place, reached);
    reach(steps, pattern.start, place, reached);
    const next: number[] = [];
    const unit = at < text.length ? text.charCodeAt(at) : -1;
    for (const index of reached) {
      const step = itemAt(steps, index);
      if (step === null) continue;
      if (step.kind === "match") return true;
      if (unit >= 0 && step.kind === "set" && isIn(step.set, unit)) next.push(step.next);
    }
    current = next;
  }
  return false;
}

/** A place in the text, and which steps were reached there already. */
interface Place {
  readonly seen: Int32Array;
  readonly round: number;
  readonly atBegin: boolean;
  readonly atEnd: boolean;
}

/** Adds the steps that a step leads to without a character: those that take one, and the end. */
function reach(steps: readonly Step[], from: number, place: Place, reached: number[]): void {
  const waiting = [from];
  while (waiting.length > 0) {
    const index = numberAt(waiting, waiting.length - 1);
    waiting.pop();
    const step = itemAt(steps, index);
    if (step === null || (place.seen[index] ?? 0) === place.round) continue;
    place.seen[index] = place.round;
    if (step.kind === "set" || step.kind === "match") reached.push(index);
    else if (step.kind === "fork") waiting.push(step.other, step.next);
    else if (step.kind === "begin" ? place.atBegin : place.atEnd) waiting.push(step.next);
  }
}

/** Whether a character is in a set. */
export function isIn(set: CharacterSet, unit: number): boolean {
  const { ranges } = set;
  let found = false;
  for (let i = 0; i + 1 < ranges.length; i += 2) {
    if (unit >= numberAt(ranges, i) && unit <= numberAt(ranges, i + 1)) found = true;
  }
  return found !== set.negated;
}
