/**
 * Regular expressions for the list of allowed sysctls, in the syntax of Go's package regexp (RE2), as far as such lists use it: as
 * programs for `matches`. Pure.
 */
import { itemAt, numberAt, textAt } from "../../lib/lists.ts";
import { isDigits } from "../../lib/text.ts";
import { type CharacterSet, isIn, type Pattern, type Step } from "./pattern.ts";

/** A pattern that is not valid, or has something that is not known here; `message` says what. */
export class PatternError extends Error {
  constructor(message: string) {
    super(message);
    this.name = "PatternError";
  }
}

/** A part of a program: where it begins, and the steps whose `next` leads out of it. */
interface Part {
  readonly start: number;
  readonly exits: readonly Exit[];
}

interface Exit {
  readonly step: Step;
  readonly other: boolean;
}

const NOTHING: CharacterSet = { ranges: [], negated: false };
const ANY: CharacterSet = { ranges: [0x0a, 0x0a], negated: true };
const DIGITS: readonly number[] = [0x30, 0x39];
const WORD: readonly number[] = [0x30, 0x39, 0x41, 0x5a, 0x5f, 0x5f, 0x61, 0x7a];
const SPACES: readonly number[] = [0x09, 0x0a, 0x0c, 0x0d, 0x20, 0x20];

/** As in Go. */
const MAX_REPEAT = 1000;
const MAX_STEPS = 10_000;
const MAX_DEPTH = 50;
const NO_LIMIT = -1;

/** Compiles a pattern. @throws PatternError */
export function compilePattern(text: string): Pattern {
  return new Compiler(text).pattern();
}

class Compiler {
  readonly #text: string;
  readonly #steps: Step[] = [];
  #at = 0;

  constructor(text: string) {
    this.#text = text;
  }

  pattern(): Pattern {
    const whole = this.#alternatives(0);
    if (this.#at < this.#text.length) throw this.#error("unexpected )");
    const end = this.#step("match", NOTHING);
    connect(whole, end);
    return { text: this.#text, steps: this.#steps, start: whole.start };
  }

  #alternatives(depth: number): Part {
    if (depth > MAX_DEPTH) throw this.#error(`groups are nested more than ${MAX_DEPTH} levels deep`);
    let part = this.#sequence(depth);
    while (this.#take("|")) {
      const other = this.#sequence(depth);
      const fork = this.#fork(part.start, other.start);
      part = { start: fork, exits: [...part.exits, ...other.exits] };
    }
    return part;
  }

  #sequence(depth: number): Part {
    let part = this.#empty();
    while (this.#at < this.#text.length && !this.#sees("|") && !this.#sees(")")) {
      const next = this.#repeated(depth);
      connect(part, next.start);
      part = { start: part.start, exits: next.exits };
    }
    return part;
  }

  /** An atom with what says how often. Several atoms from one text: it is read again for each. */
  #repeated(depth: number): Part {
    const from = this.#at;
    const first = this.#atom(depth);
    const to = this.#at;
    const count = this.#count();
    if (count === null) return first;
    /* Which way is tried first matters to who asks what has matched, not whether. */
    this.#take("?");
    const after = this.#at;
    if (this.#count() !== null) throw this.#error("invalid nested repetition operator");
    const copies: Part[] = [first];
    const needed = Math.max(1, count.max === NO_LIMIT ? count.min : count.max);
    while (copies.length < needed) {
      this.#at = from;
      copies.push(this.#atom(depth));
      if (this.#at !== to) throw this.#error("cannot be repeated");
    }
    this.#at = after;
    return this.#chain(copies, count.min, count.max);
  }

  /** `min` copies one after the other, then as many as there are, each of them optional; the last one over and over without a limit. */
  #chain(copies: readonly Part[], min: number, max: number): Part {
    if (max === 0) return this.#empty();
    let part = this.#empty();
    const exits: Exit[] = [];
    let index = 0;
    for (const copy of copies) {
      index += 1;
      const repeats = max === NO_LIMIT && index === copies.length;
      if (index > min || repeats) {
        const step = this.#newStep("fork", NOTHING);
        const fork = this.#steps.length - 1;
        step.next = copy.start;
        if (repeats) connect(copy, fork);
        /* One that must come at least once is entered before the question. */
        connect(part, repeats && index <= min ? copy.start : fork);
        if (repeats) part = { start: part.start, exits: [{ step, other: true }] };
        else {
          exits.push({ step, other: true });
          part = { start: part.start, exits: copy.exits };
        }
      } else {
        connect(part, copy.start);
        part = { start: part.start, exits: copy.exits };
      }
    }
    return { start: part.start, exits: [...part.exits, ...exits] };
  }

  #atom(depth: number): Part {
    const char = this.#next();
    if (char === "(") return this.#group(depth);
    if (char === "[") return this.#taking(this.#characterClass());
    if (char === ".") return this.#taking(ANY);
    if (char === "^") return this.#assertion("begin");
    if (char === "$") return this.#assertion("end");
    if (char === "*" || char === "+" || char === "?")
      throw this.#error(`missing argument to repetition operator: ${char}`);
    if (char === "{") {
      this.#at -= 1;
      if (this.#count() !== null) throw this.#error("missing argument to repetition operator: {}");
      this.#at += 1;
    }
    if (char === "\\") return this.#taking(this.#escape());
    return this.#taking(oneCharacter(char));
  }

  #group(depth: number): Part {
    if (this.#take("?") && !this.#take(":")) throw this.#error("flags and names of groups are not known here");
    const part = this.#alternatives(depth + 1);
    if (!this.#take(")")) throw this.#error("missing closing )");
    return part;
  }

  /** What follows "[". A "]" that comes first is one of the characters. */
  #characterClass(): CharacterSet {
    const negated = this.#take("^");
    const ranges: number[] = [];
    for (let first = true; first || !this.#sees("]"); first = false) {
      if (this.#at >= this.#text.length) throw this.#error("missing closing ]");
      if (this.#sees("[") && this.#text.charAt(this.#at + 1) === ":")
        throw this.#error("[:classes:] are not known here");
      const set = this.#classItem();
      const low = numberAt(set.ranges, 0);
      const isRange = this.#sees("-") && this.#at + 1 < this.#text.length && this.#text.charAt(this.#at + 1) !== "]";
      if (!isRange || set.ranges.length !== 2 || set.negated || low !== numberAt(set.ranges, 1)) {
        ranges.push(...positive(set));
        continue;
      }
      this.#at += 1;
      const end = this.#classItem();
      const high = numberAt(end.ranges, 0);
      if (end.negated || end.ranges.length !== 2 || numberAt(end.ranges, 1) !== high || high < low) {
        throw this.#error("invalid character class range");
      }
      ranges.push(low, high);
    }
    this.#at += 1;
    return { ranges, negated };
  }

  #classItem(): CharacterSet {
    const char = this.#next();
    return char === "\\" ? this.#escape() : oneCharacter(char);
  }

  /** What follows a backslash. */
  #escape(): CharacterSet {
    if (this.#at >= this.#text.length) throw this.#error("trailing backslash");
    const char = this.#next();
    const named = NAMED_SETS.find((one) => one.name === char);
    if (named !== undefined) return { ranges: named.ranges, negated: named.negated };
    const control = CONTROLS.find((one) => one.name === char);
    if (control !== undefined) return { ranges: [control.unit, control.unit], negated: false };
    const unit = char.charCodeAt(0);
    const isLetterOrDigit = isIn({ ranges: WORD, negated: false }, unit) && char !== "_";
    if (isLetterOrDigit || unit >= 0x80) throw this.#error(`\\${char} is not known here`);
    return oneCharacter(char);
  }

  /** "*", "+", "?" or "{2,5}"; null if there is none here. Braces that hold anything else are characters. */
  #count(): { min: number; max: number } | null {
    if (this.#take("*")) return { min: 0, max: NO_LIMIT };
    if (this.#take("+")) return { min: 1, max: NO_LIMIT };
    if (this.#take("?")) return { min: 0, max: 1 };
    if (!this.#sees("{")) return null;
    const close = this.#text.indexOf("}", this.#at);
    if (close < 0) return null;
    const parts = this.#text.slice(this.#at + 1, close).split(",");
    const low = textAt(parts, 0);
    const high = parts.length > 1 ? textAt(parts, 1) : low;
    if (parts.length > 2 || !isDigits(low) || (high !== "" && !isDigits(high))) return null;
    const min = smallNumber(low);
    const max = high === "" ? NO_LIMIT : smallNumber(high);
    if (min > MAX_REPEAT || max > MAX_REPEAT || (max !== NO_LIMIT && max < min)) {
      throw this.#error("invalid repeat count");
    }
    this.#at = close + 1;
    return { min, max };
  }

  #taking(set: CharacterSet): Part {
    const start = this.#step("set", set);
    return { start, exits: this.#exitsOf(start) };
  }

  #assertion(kind: "begin" | "end"): Part {
    const start = this.#step(kind, NOTHING);
    return { start, exits: this.#exitsOf(start) };
  }

  /** A part that takes nothing. */
  #empty(): Part {
    const step = this.#newStep("fork", NOTHING);
    step.other = this.#steps.length - 1;
    return { start: this.#steps.length - 1, exits: [{ step, other: false }] };
  }

  #fork(next: number, other: number): number {
    const step = this.#newStep("fork", NOTHING);
    step.next = next;
    step.other = other;
    return this.#steps.length - 1;
  }

  #exitsOf(index: number): Exit[] {
    const step = itemAt(this.#steps, index);
    return step === null ? [] : [{ step, other: false }];
  }

  #step(kind: Step["kind"], set: CharacterSet): number {
    this.#newStep(kind, set);
    return this.#steps.length - 1;
  }

  #newStep(kind: Step["kind"], set: CharacterSet): Step {
    if (this.#steps.length >= MAX_STEPS) throw this.#error("expression is too large");
    const step: Step = { kind, set, next: -1, other: -1 };
    this.#steps.push(step);
    return step;
  }

  #next(): string {
    const char = this.#text.charAt(this.#at);
    this.#at += 1;
    return char;
  }

  #sees(char: string): boolean {
    return this.#at < this.#text.length && this.#text.charAt(this.#at) === char;
  }

  #take(char: string): boolean {
    if (!this.#sees(char)) return false;
    this.#at += 1;
    return true;
  }

  #error(problem: string): PatternError {
    return new PatternError(`${problem}, at character ${Math.min(this.#at, this.#text.length)}`);
  }
}

function connect(part: Part, target: number): void {
  for (const { step, other } of part.exits) {
    if (other) step.other = target;
    else step.next = target;
  }
}

function oneCharacter(char: string): CharacterSet {
  const unit = char.charCodeAt(0);
  return { ranges: [unit, unit], negated: false };
}

/** The ranges of a set that may be "all but". */
function positive(set: CharacterSet): number[] {
  if (!set.negated) return [...set.ranges];
  const ranges: number[] = [];
  let from = 0;
  for (let i = 0; i + 1 < set.ranges.length; i += 2) {
    if (numberAt(set.ranges, i) > from) ranges.push(from, numberAt(set.ranges, i) - 1);
    from = numberAt(set.ranges, i + 1) + 1;
  }
  ranges.push(from, 0xffff);
  return ranges;
}

/** Digits as a number; more than any limit for many of them. */
function smallNumber(digits: string): number {
  return digits.length > 6 ? 1_000_000 : parseInt(digits, 10);
}

const NAMED_SETS: readonly { name: string; ranges: readonly number[]; negated: boolean }[] = [
  { name: "d", ranges: DIGITS, negated: false },
  { name: "D", ranges: DIGITS, negated: true },
  { name: "w", ranges: WORD, negated: false },
  { name: "W", ranges: WORD, negated: true },
  { name: "s", ranges: SPACES, negated: false },
  { name: "S", ranges: SPACES, negated: true },
];

const CONTROLS: readonly { name: string; unit: number }[] = [
  { name: "t", unit: 0x09 },
  { name: "n", unit: 0x0a },
  { name: "f", unit: 0x0c },
  { name: "r", unit: 0x0d },
];
