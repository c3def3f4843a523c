/**
 * JSON for CNI: numbers keep their text (64-bit rates stay exact), members keep their order, depth and size are limited,
 * and an error has its position. The runtime's own parser has none of these.
 */
import { itemAt, textAt } from "../lists.ts";
import { decodeUtf8, hexNumber } from "../text.ts";

export type JsonKind = "null" | "boolean" | "number" | "string" | "array" | "object";

/**
 * One JSON value. `text` holds a string's characters, a number's literal or a boolean's name; `items` an array's elements
 * or an object's values; `keys` an object's names, one for each item, in the order they were written.
 */
export class Json {
  readonly kind: JsonKind;
  readonly text: string;
  readonly items: Json[];
  readonly keys: string[];

  constructor(kind: JsonKind, text: string, items: Json[], keys: string[]) {
    this.kind = kind;
    this.text = text;
    this.items = items;
    this.keys = keys;
  }

  /** The value of a member; of a repeated name the last one. Null if it is absent or this is no object. */
  get(key: string): Json | null {
    let found = -1;
    let at = 0;
    for (const name of this.keys) {
      if (name === key) found = at;
      at += 1;
    }
    return itemAt(this.items, found);
  }

  /** Adds a member to an object (at the end) and returns the object, so that calls can be chained. */
  with(key: string, value: Json): Json {
    this.keys.push(key);
    this.items.push(value);
    return this;
  }
}

/** The items and keys of values that are neither arrays nor objects. */
const NO_ITEMS: Json[] = [];
const NO_KEYS: string[] = [];

export function jsonNull(): Json {
  return new Json("null", "null", NO_ITEMS, NO_KEYS);
}

export function jsonString(value: string): Json {
  return new Json("string", value, NO_ITEMS, NO_KEYS);
}

/** An array of strings. */
export function jsonStrings(values: readonly string[]): Json {
  const items: Json[] = [];
  for (const value of values) items.push(jsonString(value));
  return jsonArray(items);
}

export function jsonNumber(value: number): Json {
  return new Json("number", `${value}`, NO_ITEMS, NO_KEYS);
}

export function jsonBoolean(value: boolean): Json {
  return new Json("boolean", value ? "true" : "false", NO_ITEMS, NO_KEYS);
}

export function jsonArray(items: Json[]): Json {
  return new Json("array", "", items, NO_KEYS);
}

export function jsonObject(): Json {
  return new Json("object", "", [], []);
}

/** The text is not JSON or exceeds a limit; `message` says what is wrong and where. */
export class JsonError extends Error {
  constructor(message: string) {
    super(message);
    this.name = "JsonError";
  }
}

/** A network configuration has about six levels. Without a limit hostile input could exhaust the stack. */
const MAX_DEPTH = 64;

const QUOTE = 0x22;
const BACKSLASH = 0x5c;

class Parser {
  readonly #bytes: Uint8Array;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  document(): Json {
    const value = this.#value(0);
    this.#skipSpace();
    if (this.#at < this.#bytes.length) throw this.#unexpected("after the top-level value");
    return value;
  }

  #value(depth: number): Json {
    if (depth > MAX_DEPTH) throw new JsonError(`nested more than ${MAX_DEPTH} levels deep`);
    this.#skipSpace();
    const byte = this.#peek();
    if (byte === 0x7b) return this.#object(depth);
    if (byte === 0x5b) return this.#array(depth);
    if (byte === QUOTE) return new Json("string", this.#string(), NO_ITEMS, NO_KEYS);
    if (byte === 0x2d || isDigit(byte)) return new Json("number", this.#number(), NO_ITEMS, NO_KEYS);
    if (this.#word("true")) return new Json("boolean", "true", NO_ITEMS, NO_KEYS);
    if (this.#word("false")) return new Json("boolean", "false", NO_ITEMS, NO_KEYS);
    if (this.#word("null")) return jsonNull();
    throw this.#unexpected("where a value should begin");
  }

  #object(depth: number): Json {
    const object = jsonObject();
    this.#at += 1;
    this.#skipSpace();
    if (this.#take(0x7d)) return object;
    for (;;) {
      this.#skipSpace();
      if (this.#peek() !== QUOTE) throw this.#unexpected("where a name in quotes should begin");
      const key = this.#string();
      this.#skipSpace();
      if (!this.#take(0x3a)) throw this.#unexpected("where ':' should follow a name");
      object.with(key, this.#value(depth + 1));
      this.#skipSpace();
      if (this.#take(0x7d)) return object;
      if (!this.#take(0x2c)) throw this.#unexpected("where ',' or '}' should follow a member");
    }
  }

  #array(depth: number): Json {
    const items: Json[] = [];
    this.#at += 1;
    this.#skipSpace();
    if (this.#take(0x5d)) return jsonArray(items);
    for (;;) {
      items.push(this.#value(depth + 1));
      this.#skipSpace();
      if (this.#take(0x5d)) return jsonArray(items);
      if (!this.#take(0x2c)) throw this.#unexpected("where ',' or ']' should follow an element");
    }
  }

  #string(): string {
    this.#at += 1;
    let text = "";
    for (;;) {
      const start = this.#at;
      this.#at = endOfPlain(this.#bytes, start);
      const plain = this.#at === start ? "" : decodeUtf8(this.#bytes.subarray(start, this.#at));
      const byte = this.#peek();
      if (byte < 0x20) throw this.#unexpected("inside a string");
      this.#at += 1;
      if (byte === QUOTE) return text === "" ? plain : text + plain;
      text += plain + this.#escape();
    }
  }

  #escape(): string {
    const byte = this.#peek();
    this.#at += 1;
    if (byte === QUOTE || byte === BACKSLASH || byte === 0x2f) return String.fromCharCode(byte);
    if (byte === 0x62) return "\b";
    if (byte === 0x66) return "\f";
    if (byte === 0x6e) return "\n";
    if (byte === 0x72) return "\r";
    if (byte === 0x74) return "\t";
    if (byte !== 0x75) {
      this.#at -= 1;
      throw this.#unexpected("after a backslash");
    }
    const unit = this.#hex4();
    if (unit < 0xd800 || unit > 0xdfff) return String.fromCharCode(unit);
    /* A lone surrogate is no character: U+FFFD replaces it. */
    if (unit > 0xdbff || this.#byte(this.#at) !== BACKSLASH || this.#byte(this.#at + 1) !== 0x75) return "\ufffd";
    const back = this.#at;
    this.#at += 2;
    const low = this.#hex4();
    if (low >= 0xdc00 && low <= 0xdfff) return String.fromCharCode(unit, low);
    this.#at = back;
    return "\ufffd";
  }

  #hex4(): number {
    let value = 0;
    for (let i = 0; i < 4; i += 1) {
      const digit = hexDigit(this.#peek());
      if (digit < 0) throw this.#unexpected("in a \\u escape");
      value = value * 16 + digit;
      this.#at += 1;
    }
    return value;
  }

  #number(): string {
    const start = this.#at;
    this.#take(0x2d);
    if (!this.#take(0x30)) this.#digits();
    if (this.#take(0x2e)) this.#digits();
    const byte = this.#byte(this.#at);
    if (byte === 0x65 || byte === 0x45) {
      this.#at += 1;
      if (!this.#take(0x2b)) this.#take(0x2d);
      this.#digits();
    }
    return decodeUtf8(this.#bytes.subarray(start, this.#at));
  }

  #digits(): void {
    if (!isDigit(this.#peek())) throw this.#unexpected("in a number");
    this.#at = endOfDigits(this.#bytes, this.#at);
  }

  #word(word: string): boolean {
    for (let i = 0; i < word.length; i += 1) {
      if (this.#byte(this.#at + i) !== word.charCodeAt(i)) return false;
    }
    this.#at += word.length;
    return true;
  }

  #take(byte: number): boolean {
    if (this.#byte(this.#at) !== byte) return false;
    this.#at += 1;
    return true;
  }

  /** The byte at an index; -1 past the end. An index outside of a typed array would end the compiled program. */
  #byte(index: number): number {
    return index < this.#bytes.length ? (this.#bytes[index] ?? -1) : -1;
  }

  #peek(): number {
    const byte = this.#byte(this.#at);
    if (byte < 0) throw new JsonError("unexpected end of JSON input");
    return byte;
  }

  #skipSpace(): void {
    this.#at = endOfSpace(this.#bytes, this.#at);
  }

  #unexpected(where: string): JsonError {
    const byte = this.#byte(this.#at);
    if (byte < 0) return new JsonError("unexpected end of JSON input");
    let line = 1;
    let column = 1;
    for (let i = 0; i < this.#at; i += 1) {
      column += 1;
      if (this.#bytes[i] === 0x0a) {
        line += 1;
        column = 1;
      }
    }
    const shown = byte > 0x20 && byte < 0x7f ? `'${String.fromCharCode(byte)}'` : `byte 0x${hexNumber(byte)}`;
    return new JsonError(`invalid character ${shown} ${where}, line ${line} column ${column}`);
  }
}

/**
 * Parses one JSON document (RFC 8259).
 * @param bytes UTF-8; ill-formed sequences inside strings become U+FFFD
 * @throws JsonError
 */
export function parseJson(bytes: Uint8Array): Json {
  return new Parser(bytes).document();
}

/** Formats a value as JSON, indented by four spaces a level, as the reference plugins do; without a newline at the end. */
export function formatJson(value: Json): string {
  return format(value, "\n");
}

/** Formats a value as JSON on one line. */
export function formatJsonLine(value: Json): string {
  if (value.kind !== "array" && value.kind !== "object") return scalar(value);
  const parts: string[] = [];
  for (const item of value.items) {
    const name = value.kind === "array" ? "" : `${quote(textAt(value.keys, parts.length))}:`;
    parts.push(name + formatJsonLine(item));
  }
  return value.kind === "array" ? `[${parts.join(",")}]` : `{${parts.join(",")}}`;
}

function format(value: Json, newline: string): string {
  if (value.kind !== "array" && value.kind !== "object") return scalar(value);
  const array = value.kind === "array";
  if (value.items.length === 0) return array ? "[]" : "{}";
  const inner = `${newline}    `;
  const parts: string[] = [];
  for (const item of value.items) {
    const name = array ? "" : `${quote(textAt(value.keys, parts.length))}: `;
    parts.push(inner + name + format(item, inner));
  }
  return array ? `[${parts.join(",")}${newline}]` : `{${parts.join(",")}${newline}}`;
}

function scalar(value: Json): string {
  return value.kind === "string" ? quote(value.text) : value.text;
}

/** Nearly all texts need no escapes, and a loop over bytes is a tenth of one over UTF-16 code units. */
function quote(text: string): string {
  const bytes = new TextEncoder().encode(text);
  return endOfPlain(bytes, 0) === bytes.length ? `"${text}"` : escaped(text);
}

function escaped(text: string): string {
  let out = '"';
  let plain = 0;
  for (let i = 0; i < text.length; i += 1) {
    const unit = text.charCodeAt(i);
    if (unit >= 0x20 && unit !== QUOTE && unit !== BACKSLASH) continue;
    out += text.slice(plain, i);
    plain = i + 1;
    if (unit === QUOTE) out += '\\"';
    else if (unit === BACKSLASH) out += "\\\\";
    else if (unit === 0x0a) out += "\\n";
    else if (unit === 0x09) out += "\\t";
    else out += `\\u00${hexNumber(unit).padStart(2, "0")}`;
  }
  return `${out}${text.slice(plain)}"`;
}

/* Loops over bytes are functions: in a method, the compiled code would count a reference to the object at each step. */

/** The index of the first byte that ends a string or must be decoded: a quote, a backslash, a control character. */
function endOfPlain(bytes: Uint8Array, from: number): number {
  let at = from;
  while (at < bytes.length) {
    const byte = bytes[at] ?? 0;
    if (byte === QUOTE || byte === BACKSLASH || byte < 0x20) break;
    at += 1;
  }
  return at;
}

function endOfDigits(bytes: Uint8Array, from: number): number {
  let at = from;
  while (at < bytes.length && isDigit(bytes[at] ?? 0)) at += 1;
  return at;
}

function endOfSpace(bytes: Uint8Array, from: number): number {
  let at = from;
  while (at < bytes.length) {
    const byte = bytes[at] ?? 0;
    if (byte !== 0x20 && byte !== 0x0a && byte !== 0x0d && byte !== 0x09) break;
    at += 1;
  }
  return at;
}

function isDigit(byte: number): boolean {
  return byte >= 0x30 && byte <= 0x39;
}

function hexDigit(byte: number): number {
  if (isDigit(byte)) return byte - 0x30;
  const lower = byte | 0x20;
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x57 : -1;
}
