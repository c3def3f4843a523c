/**
 * Objects out of a stream of JSON, reduced while they pass: a list of 5,000 nodes, 45 MB, never stands in memory. What a
 * selection names is copied into one buffer, as a smaller JSON text that parseJson reads. The rest is skipped, checked only
 * for strings that end and brackets that match. Bytes come in any pieces. Pure.
 */
import { type Json, JsonError, parseJson } from "../cni/json.ts";
import { itemAt } from "../lists.ts";
import type { Selection } from "./selection.ts";
import { endOfPlain, MAX_DEPTH, SkipState, skipValue } from "./skip.ts";

/** What is kept of one object, as JSON. */
const MAX_KEPT = 1024 * 1024;
/** One object as the server sends it. etcd takes none above 1.5 MB, the API server no request above 3 MB. */
const MAX_OBJECT = 8 * 1024 * 1024;
/** A name in quotes: the key of an annotation has at most 317 characters. Longer names are in no selection. */
const MAX_NAME = 1024;

/** The buffer of the kept text at first, and the size above which it is not held on to. */
const SMALL = 8192;
const LARGE = 65_536;

/** Takes the objects that are read. */
export abstract class ObjectReceiver {
  /** An element of an array that the selection splits. */
  abstract item(object: Json): void;
  /** A complete top-level value, without the items that were handed on before. */
  abstract whole(object: Json): void;
}

/** An array or object that is being read member by member. */
class Level {
  readonly selection: Selection;
  readonly isArray: boolean;
  /** Whether its elements are handed on one by one. */
  readonly isSplit: boolean;
  /** How many members have been written. */
  written = 0;

  constructor(selection: Selection, isArray: boolean) {
    this.selection = selection;
    this.isArray = isArray;
    this.isSplit = isArray && selection.isSplit;
  }
}

/** What is expected next. */
type Expected =
  | "top-level value"
  | "first name"
  | "next name"
  | "rest of a name"
  | "colon"
  | "value"
  | "first element"
  | "rest of a value"
  | "rest of a word"
  | "comma or end";

const QUOTE = 0x22;
const COMMA = 0x2c;
const COLON = 0x3a;
const OPEN_ARRAY = 0x5b;
const CLOSE_ARRAY = 0x5d;
const OPEN_OBJECT = 0x7b;
const CLOSE_OBJECT = 0x7d;

export class ObjectReader {
  readonly #selection: Selection;
  readonly #receiver: ObjectReceiver;
  readonly #levels: Level[] = [];
  #expected: Expected = "top-level value";
  /** The name that is being read, as it is written. */
  readonly #name = new Uint8Array(MAX_NAME);
  /** Its length; more than MAX_NAME for one that is too long. */
  #nameLength = 0;
  #hasEscape = false;
  #isEscaped = false;
  /** What is kept of the value that follows; null if it is skipped. */
  #wanted: Selection | null = null;
  /** The value that is skipped or copied. */
  readonly #skip = new SkipState();
  #isKeeping = false;
  /** The kept text: of the top-level value, and behind it of the item that is being read. */
  #kept = new Uint8Array(SMALL);
  #length = 0;
  #itemStart = 0;
  /** Bytes since the last object that was handed on. */
  #size = 0;
  /** Why the stream cannot be read; "" if it can. */
  problem = "";

  constructor(selection: Selection, receiver: ObjectReceiver) {
    this.#selection = selection;
    this.#receiver = receiver;
  }

  /** Whether the bytes so far end with a complete value, or there were none. */
  get isBetween(): boolean {
    return this.#expected === "top-level value";
  }

  /** Takes the next bytes. @returns false if they cannot be read: `problem` says why, and nothing more is read */
  feed(bytes: Uint8Array, start: number, end: number): boolean {
    let at = start;
    while (at < end && this.problem === "") {
      const from = at;
      at = this.#step(bytes, at, end);
      this.#size += at - from;
      if (this.#size > MAX_OBJECT) this.#fail(`an object is larger than ${MAX_OBJECT} bytes`);
    }
    return this.problem === "";
  }

  /** Reads one part of the JSON. @returns the position behind it */
  #step(bytes: Uint8Array, start: number, end: number): number {
    if (this.#expected === "rest of a value") return this.#restOfValue(bytes, start, end);
    if (this.#expected === "rest of a name") return this.#restOfName(bytes, start, end);
    if (this.#expected === "rest of a word") return this.#restOfWord(bytes, start, end);
    const byte = bytes[start] ?? 0;
    if (!isSpace(byte)) this.#mark(byte);
    return start + 1;
  }

  /** Takes a byte that is within no value or name. */
  #mark(byte: number): void {
    switch (this.#expected) {
      case "top-level value":
        if (byte === OPEN_OBJECT) this.#beginDocument();
        else this.#unexpected(byte);
        break;
      case "first name":
        if (byte === CLOSE_OBJECT) this.#endLevel(byte);
        else this.#beginName(byte);
        break;
      case "next name":
        this.#beginName(byte);
        break;
      case "colon":
        if (byte === COLON) this.#expected = "value";
        else this.#unexpected(byte);
        break;
      case "value":
        this.#beginValue(byte);
        break;
      case "first element":
        if (byte === CLOSE_ARRAY) this.#endLevel(byte);
        else this.#beginValue(byte);
        break;
      default:
        if (byte === COMMA) this.#nextMember();
        else this.#endLevel(byte);
    }
  }

  #beginDocument(): void {
    this.#size = 0;
    this.#length = 0;
    this.#wanted = this.#selection;
    this.#beginValue(OPEN_OBJECT);
  }

  #nextMember(): void {
    const level = this.#level();
    this.#expected = level === null || level.isArray ? "value" : "next name";
  }

  #beginName(byte: number): void {
    if (byte !== QUOTE) {
      this.#unexpected(byte);
      return;
    }
    this.#nameLength = 0;
    this.#hasEscape = false;
    this.#isEscaped = false;
    this.#expected = "rest of a name";
  }

  #restOfName(bytes: Uint8Array, start: number, end: number): number {
    const stop = this.#isEscaped ? start : endOfPlain(bytes, start, end);
    const isEnd = !this.#isEscaped && stop < end && bytes[stop] === QUOTE;
    const next = stop < end ? stop + 1 : end;
    this.#addToName(bytes, start, isEnd ? stop : next);
    this.#isEscaped = !this.#isEscaped && !isEnd && stop < end;
    if (this.#isEscaped) this.#hasEscape = true;
    if (isEnd) this.#endName();
    return next;
  }

  #addToName(bytes: Uint8Array, start: number, end: number): void {
    const length = this.#nameLength + end - start;
    if (length <= MAX_NAME) this.#name.set(bytes.subarray(start, end), this.#nameLength);
    this.#nameLength = Math.min(length, MAX_NAME + 1);
  }

  #endName(): void {
    this.#expected = "colon";
    this.#wanted = null;
    const level = this.#level();
    if (level === null || this.#nameLength > MAX_NAME) return;
    if (!this.#hasEscape) {
      this.#wanted = level.selection.find(this.#name, this.#nameLength);
      return;
    }
    const text = this.#parse(quoted(this.#name.subarray(0, this.#nameLength)));
    const name = new TextEncoder().encode(text === null ? "" : text.text);
    this.#wanted = level.selection.find(name, name.length);
  }

  #beginValue(byte: number): void {
    const level = this.#level();
    const wanted = level?.isArray === true ? level.selection : this.#wanted;
    const isItem = level?.isSplit === true;
    if (isItem && byte !== OPEN_OBJECT) {
      this.#fail("an item of the list is no object");
      return;
    }
    if (isItem) {
      this.#itemStart = this.#length;
      this.#size = 0;
    }
    this.#isKeeping = wanted !== null;
    if (this.#isKeeping) this.#separate(level);
    if (wanted !== null && isRead(wanted, isItem, byte)) this.#beginLevel(wanted, byte);
    else this.#beginRest(byte);
  }

  /** Writes what stands before a value: a comma, its name. */
  #separate(level: Level | null): void {
    if (level === null || level.isSplit) return;
    if (level.written > 0) this.#keepByte(COMMA);
    level.written += 1;
    if (level.isArray) return;
    this.#keepByte(QUOTE);
    this.#keep(this.#name, 0, this.#nameLength);
    this.#keepByte(QUOTE);
    this.#keepByte(COLON);
  }

  /** Begins an object or array that is read member by member. */
  #beginLevel(selection: Selection, byte: number): void {
    if (this.#levels.length === MAX_DEPTH) {
      this.#fail(TOO_DEEP);
      return;
    }
    const isArray = byte === OPEN_ARRAY;
    this.#keepByte(byte);
    this.#levels.push(new Level(selection, isArray));
    this.#expected = isArray ? "first element" : "first name";
  }

  /** Begins a value that is copied or skipped as it is. */
  #beginRest(byte: number): void {
    if (byte === QUOTE || byte === OPEN_OBJECT || byte === OPEN_ARRAY) {
      this.#skip.begin(byte, this.#levels.length);
      this.#expected = "rest of a value";
    } else if (isWordByte(byte)) {
      this.#expected = "rest of a word";
    } else {
      this.#unexpected(byte);
      return;
    }
    if (this.#isKeeping) this.#keepByte(byte);
  }

  #restOfValue(bytes: Uint8Array, start: number, end: number): number {
    const next = skipValue(bytes, start, end, this.#skip);
    if (this.#isKeeping) this.#keep(bytes, start, next);
    if (this.#skip.isWrong)
      this.#fail(this.#skip.depth < this.#skip.limit ? "not JSON: brackets do not match" : TOO_DEEP);
    else if (this.#skip.isDone) this.#endValue();
    return next;
  }

  /** A number, true, false or null. */
  #restOfWord(bytes: Uint8Array, start: number, end: number): number {
    const next = endOfWord(bytes, start, end);
    if (this.#isKeeping) this.#keep(bytes, start, next);
    if (next < end) this.#endValue();
    return next;
  }

  #endLevel(byte: number): void {
    const level = this.#level();
    if (level === null || byte !== (level.isArray ? CLOSE_ARRAY : CLOSE_OBJECT)) {
      this.#unexpected(byte);
      return;
    }
    this.#keepByte(byte);
    this.#levels.pop();
    this.#endValue();
  }

  #endValue(): void {
    const level = this.#level();
    this.#expected = level === null ? "top-level value" : "comma or end";
    if (this.problem !== "" || (level !== null && !level.isSplit)) return;
    const start = level === null ? 0 : this.#itemStart;
    const object = this.#parse(this.#kept.subarray(start, this.#length));
    this.#length = start;
    this.#size = 0;
    if (object === null) return;
    if (level !== null) {
      this.#receiver.item(object);
      return;
    }
    if (this.#kept.length > LARGE) this.#kept = new Uint8Array(SMALL);
    this.#receiver.whole(object);
  }

  #level(): Level | null {
    return itemAt(this.#levels, this.#levels.length - 1);
  }

  #parse(text: Uint8Array): Json | null {
    try {
      return parseJson(text);
    } catch (error) {
      if (!(error instanceof JsonError)) throw error;
      this.#fail(`not JSON: ${error.message}`);
      return null;
    }
  }

  #keepByte(byte: number): void {
    if (!this.#makeRoom(1)) return;
    this.#kept[this.#length] = byte;
    this.#length += 1;
  }

  #keep(bytes: Uint8Array, start: number, end: number): void {
    if (!this.#makeRoom(end - start)) return;
    this.#kept.set(bytes.subarray(start, end), this.#length);
    this.#length += end - start;
  }

  #makeRoom(length: number): boolean {
    const needed = this.#length + length;
    if (needed <= this.#kept.length) return true;
    if (needed > MAX_KEPT) {
      this.#fail(`what is kept of an object is larger than ${MAX_KEPT} bytes`);
      return false;
    }
    let size = this.#kept.length;
    while (size < needed) size *= 2;
    const larger = new Uint8Array(size);
    larger.set(this.#kept.subarray(0, this.#length));
    this.#kept = larger;
    return true;
  }

  #unexpected(byte: number): void {
    const shown = byte > 0x20 && byte < 0x7f ? `'${String.fromCharCode(byte)}'` : `byte ${byte}`;
    this.#fail(`not JSON: ${shown} instead of a ${this.#expected}`);
  }

  #fail(problem: string): void {
    if (this.problem === "") this.problem = problem;
  }
}

const TOO_DEEP = `nested more than ${MAX_DEPTH} levels deep`;

/** Whether a value is read member by member; otherwise it is copied as it is. */
function isRead(wanted: Selection, isItem: boolean, byte: number): boolean {
  if (wanted.isSplit && !isItem) return byte === OPEN_ARRAY;
  return !wanted.isWhole && (byte === OPEN_OBJECT || byte === OPEN_ARRAY);
}

function quoted(text: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(text.length + 2);
  bytes[0] = QUOTE;
  bytes.set(text, 1);
  bytes[text.length + 1] = QUOTE;
  return bytes;
}

function endOfWord(bytes: Uint8Array, start: number, end: number): number {
  let at = start;
  while (at < end && isWordByte(bytes[at] ?? 0)) at += 1;
  return at;
}

/** Whether a byte may be in a number, true, false or null. */
function isWordByte(byte: number): boolean {
  if (byte >= 0x30 && byte <= 0x39) return true;
  if ((byte | 0x20) >= 0x61 && (byte | 0x20) <= 0x7a) return true;
  return byte === 0x2b || byte === 0x2d || byte === 0x2e;
}

function isSpace(byte: number): boolean {
  return byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09;
}
