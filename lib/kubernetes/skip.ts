/**
 * Finding the end of a JSON value without looking at what is in it. Nearly all bytes that the server sends pass here, so the
 * loop is a function of its own that works on local variables (see lib/cni/json.ts). Pure.
 */

/** How many arrays and objects may be open in one document. */
export const MAX_DEPTH = 64;

const QUOTE = 0x22;
const OPEN_ARRAY = 0x5b;
const BACKSLASH = 0x5c;
const CLOSE_ARRAY = 0x5d;
const OPEN_OBJECT = 0x7b;
const CLOSE_OBJECT = 0x7d;

/** Where a value is, between two pieces of it. */
export class SkipState {
  /** How many arrays and objects of the value are open. */
  depth = 0;
  /** How many of them there may be. */
  limit = MAX_DEPTH;
  /** The brackets that close them, outermost first. */
  readonly closing = new Uint8Array(MAX_DEPTH + 1);
  isInString = false;
  /** Whether the last byte was a backslash that the next one belongs to. */
  isEscaped = false;
  /** Whether a bracket closes what was not open, or more is open than `limit`. */
  isWrong = false;

  /**
   * Begins a value.
   * @param first its first byte: a quotation mark or an opening bracket, which the caller has read
   * @param around how many arrays and objects are open around it
   */
  begin(first: number, around: number): void {
    this.limit = MAX_DEPTH - around;
    this.isInString = first === QUOTE;
    this.isEscaped = false;
    this.isWrong = false;
    this.depth = this.isInString ? 0 : 1;
    this.closing[0] = first + 2;
  }

  /** Whether the value is complete. */
  get isDone(): boolean {
    return this.depth === 0 && !this.isInString;
  }
}

/**
 * Skips the rest of the value that `state` is in, as far as the bytes go.
 * @returns the position behind the value, or `end`
 */
export function skipValue(bytes: Uint8Array, start: number, end: number, state: SkipState): number {
  let at = start;
  while (at < end && !state.isWrong && !state.isDone) {
    if (state.isEscaped) {
      state.isEscaped = false;
      at += 1;
    } else if (state.isInString) {
      at = endOfPlain(bytes, at, end);
      if (at === end) return end;
      if (bytes[at] === QUOTE) state.isInString = false;
      else state.isEscaped = true;
      at += 1;
    } else {
      at = endOfStrings(bytes, at, end);
      if (at === end) return end;
      takeByte(bytes[at] ?? 0, state);
      at += 1;
    }
  }
  return at;
}

/** A byte outside of strings: a quotation mark or a bracket. */
function takeByte(byte: number, state: SkipState): void {
  if (byte === QUOTE) {
    state.isInString = true;
  } else if (byte === OPEN_ARRAY || byte === OPEN_OBJECT) {
    state.isWrong = state.depth >= state.limit;
    if (state.isWrong) return;
    state.closing[state.depth] = byte + 2;
    state.depth += 1;
  } else {
    state.depth -= 1;
    state.isWrong = state.closing[state.depth] !== byte;
  }
}

/** The position of the first quotation mark or backslash; `end` without one. */
export function endOfPlain(bytes: Uint8Array, start: number, end: number): number {
  let at = start;
  while (at < end) {
    const byte = bytes[at] ?? 0;
    if (byte === QUOTE || byte === BACKSLASH) return at;
    at += 1;
  }
  return end;
}

/**
 * Outside of a string: the position of the first bracket, or of the quotation mark of a string that has an escape or does not
 * end before `end`; all other strings are passed.
 */
function endOfStrings(bytes: Uint8Array, start: number, end: number): number {
  let at = start;
  while (at < end) {
    const byte = bytes[at] ?? 0;
    if (byte === QUOTE) {
      const close = endOfPlain(bytes, at + 1, end);
      if (close === end || bytes[close] !== QUOTE) return at;
      at = close;
    } else if (byte === OPEN_OBJECT || byte === CLOSE_OBJECT || byte === OPEN_ARRAY || byte === CLOSE_ARRAY) {
      return at;
    }
    at += 1;
  }
  return end;
}
