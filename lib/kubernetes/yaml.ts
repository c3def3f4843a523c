/**
 * The part of YAML 1.2 that kubeconfig files are written in: block mappings and sequences, scalars of all five styles,
 * comments, and flow collections of scalars in one line. Whatever else YAML has is refused with the number of its line:
 * anchors, aliases, tags, merge keys, directives, complex keys, several documents, plain and quoted texts over several lines.
 * What is accepted means what it means in YAML. A text that is JSON is read as JSON. Pure.
 */
import { Json, JsonError, jsonArray, jsonObject, parseJson } from "../cni/json.ts";
import { textAt } from "../lists.ts";
import { plainScalar, readQuoted, YamlError } from "./yaml-scalars.ts";

const MAX_DEPTH = 32;

/** Reads a document. Numbers, booleans and null keep their text. @throws YamlError */
export function parseYaml(text: string): Json {
  const unmarked = text.startsWith("\ufeff") ? text.slice(1) : text;
  if (unmarked.trimStart().startsWith("{")) return readJson(unmarked);
  return new Reader(linesOf(unmarked)).document();
}

function readJson(text: string): Json {
  try {
    return parseJson(new TextEncoder().encode(text));
  } catch (error) {
    if (!(error instanceof JsonError)) throw error;
    throw new YamlError(`begins like JSON, but ${error.message}`, 1);
  }
}

/** The lines without their ends. */
function linesOf(text: string): string[] {
  const lines: string[] = [];
  for (const line of text.split("\n")) {
    const bare = line.endsWith("\r") ? line.slice(0, -1) : line;
    for (let at = 0; at < bare.length; at += 1) {
      const unit = bare.charCodeAt(at);
      if ((unit < 0x20 && unit !== 0x09) || unit === 0x7f) {
        throw new YamlError("there is a control character", lines.length + 1);
      }
    }
    lines.push(bare);
  }
  /* A newline ends the last line and begins none. */
  if (text.endsWith("\n")) lines.pop();
  return lines;
}

class Reader {
  /** A dash that has been read is replaced by a space: what follows it is read like a line of its own. */
  readonly #lines: string[];
  #at = 0;

  constructor(lines: string[]) {
    this.#lines = lines;
  }

  document(): Json {
    if (this.#skipToContent() && isMarker(this.#line(), "---")) {
      if (!isBlank(this.#line().slice(3))) throw this.#error("something follows ---");
      this.#at += 1;
    }
    const value = this.#node(-1, 0);
    if (this.#skipToContent() && isMarker(this.#line(), "...") && isBlank(this.#line().slice(3))) this.#at += 1;
    if (!this.#skipToContent()) return value;
    throw this.#error(
      isMarker(this.#line(), "---") ? "a second document begins" : "this does not belong to anything before",
    );
  }

  /** The value that begins at the next line, if that is indented more than `parent`; else null. */
  #node(parent: number, depth: number): Json {
    if (depth > MAX_DEPTH) throw this.#error(`nested more than ${MAX_DEPTH} levels deep`);
    if (!this.#skipToContent()) return plainScalar("");
    const line = this.#line();
    const indent = indentOf(line);
    if (indent <= parent || (indent === 0 && isMarker(line, "---")) || isMarker(line, "...")) return plainScalar("");
    this.#refuseTabs(line);
    if (isDash(line, indent)) return this.#sequence(indent, depth);
    const isCollection = line.charAt(indent) === "{" || line.charAt(indent) === "[";
    if (!isCollection && this.#colonIn(line, indent) >= 0) return this.#mapping(indent, depth);
    return this.#scalar(indent, parent);
  }

  #sequence(indent: number, depth: number): Json {
    const items: Json[] = [];
    while (this.#skipToContent()) {
      const line = this.#line();
      if (indentOf(line) !== indent || !isDash(line, indent)) break;
      this.#refuseTabs(line);
      this.#lines[this.#at] = `${line.slice(0, indent)} ${line.slice(indent + 1)}`;
      items.push(this.#node(indent, depth + 1));
    }
    this.#requireEnd(indent);
    return jsonArray(items);
  }

  #mapping(indent: number, depth: number): Json {
    const object = jsonObject();
    while (this.#skipToContent()) {
      const line = this.#line();
      if (indentOf(line) !== indent || isDash(line, indent) || isMarker(line, "---") || isMarker(line, "...")) break;
      this.#refuseTabs(line);
      const colon = this.#colonIn(line, indent);
      if (colon < 0) throw this.#error("a line is neither a key with its value nor indented like one");
      const key = this.#key(line, indent, colon);
      if (object.keys.includes(key)) throw this.#error(`the key "${key}" comes twice`);
      object.with(key, this.#member(line, { colon, indent, depth }));
    }
    this.#requireEnd(indent);
    return object;
  }

  /** What comes behind a block must be indented less. */
  #requireEnd(indent: number): void {
    if (!this.#skipToContent() || indentOf(this.#line()) < indent) return;
    const line = this.#line();
    if (isMarker(line, "---") || isMarker(line, "...")) return;
    throw this.#error("the indentation does not match what is before");
  }

  #member(line: string, place: { colon: number; indent: number; depth: number }): Json {
    const { colon, indent, depth } = place;
    const start = skipSpaces(line, colon + 1);
    if (!isBlank(line.slice(colon + 1))) return this.#scalar(start, indent);
    this.#at += 1;
    if (!this.#skipToContent()) return plainScalar("");
    /* A sequence may stand at the indentation of its key. */
    const next = this.#line();
    if (indentOf(next) === indent && isDash(next, indent) && !isMarker(next, "---")) {
      this.#refuseTabs(next);
      return this.#sequenceOfKey(indent, depth + 1);
    }
    return this.#node(indent, depth + 1);
  }

  /** A sequence at the indentation of the key that it belongs to: the next key ends it. */
  #sequenceOfKey(indent: number, depth: number): Json {
    const items: Json[] = [];
    while (this.#skipToContent()) {
      const line = this.#line();
      if (indentOf(line) !== indent || !isDash(line, indent) || isMarker(line, "---")) break;
      this.#refuseTabs(line);
      this.#lines[this.#at] = `${line.slice(0, indent)} ${line.slice(indent + 1)}`;
      items.push(this.#node(indent, depth + 1));
    }
    return jsonArray(items);
  }

  /** The scalar or flow collection that begins in the current line at `start`. @param parent the indentation of what it belongs to */
  #scalar(start: number, parent: number): Json {
    const line = this.#line();
    const first = line.charAt(start);
    const number = this.#at + 1;
    if (first === "|" || first === ">") return this.#blockScalar(line.slice(start), parent);
    this.#at += 1;
    if (first === '"' || first === "'") {
      const { text, end } = readQuoted(line, start, number);
      requireBlank(line, end, number);
      return new Json("string", text, [], []);
    }
    if (first === "[" || first === "{") return readFlow(line, start, number);
    const text = plainText(line.slice(start), number);
    if (this.#skipToContent() && indentOf(this.#line()) > Math.max(parent, 0) && !isBlank(this.#line())) {
      throw this.#error("a text without quotes must end in the line that it begins in");
    }
    return plainScalar(text);
  }

  #blockScalar(header: string, parent: number): Json {
    if (parent < 0) throw this.#error("a block of text must belong to a key or a dash");
    const style = readHeader(header, this.#at + 1);
    this.#at += 1;
    const first = this.#at;
    let last = first;
    let indent = style.indent === 0 ? 0 : parent + style.indent;
    for (let at = first; at < this.#lines.length; at += 1) {
      const line = textAt(this.#lines, at);
      if (isEmpty(line)) continue;
      const own = indentOf(line);
      if (indent === 0) indent = own > parent ? own : 0;
      if (indent === 0 || own < indent || (own === 0 && (isMarker(line, "---") || isMarker(line, "...")))) break;
      last = at + 1;
    }
    const lines: string[] = [];
    for (let at = first; at < last; at += 1) lines.push(textAt(this.#lines, at).slice(indent));
    let blank = 0;
    while (last + blank < this.#lines.length && isEmpty(textAt(this.#lines, last + blank))) blank += 1;
    this.#at = last + blank;
    for (let at = first; at < this.#at; at += 1) {
      const line = textAt(this.#lines, at);
      if (isEmpty(line) && line.length > indent)
        throw new YamlError("there are spaces in a blank line of a text", at + 1);
    }
    return new Json("string", joinLines(lines, blank, style), [], []);
  }

  /** The position of the colon that ends the key which begins at `start`; -1 if the line has no key. */
  #colonIn(line: string, start: number): number {
    const first = line.charAt(start);
    if (first === '"' || first === "'") {
      const { end } = readQuoted(line, start, this.#at + 1);
      const colon = skipSpaces(line, end);
      return isColon(line, colon) ? colon : -1;
    }
    for (let at = start; at < line.length; at += 1) {
      const character = line.charAt(at);
      if (character === "#" && at > start && isSpace(line.charAt(at - 1))) return -1;
      if (isColon(line, at)) return at;
    }
    return -1;
  }

  #key(line: string, start: number, colon: number): string {
    const first = line.charAt(start);
    if (first === '"' || first === "'") return readQuoted(line, start, this.#at + 1).text;
    const text = withoutSpaces(line.slice(start, colon));
    if (text === "<<") throw this.#error("merge keys are not read");
    requirePlain(text, this.#at + 1);
    if (plainScalar(text).kind !== "string") throw this.#error(`the key ${text} must be in quotes`);
    return text;
  }

  #line(): string {
    return textAt(this.#lines, this.#at);
  }

  /** Goes to the next line that is neither blank nor a comment; false at the end. */
  #skipToContent(): boolean {
    while (this.#at < this.#lines.length && isBlank(this.#line())) {
      this.#refuseTabs(this.#line());
      this.#at += 1;
    }
    return this.#at < this.#lines.length;
  }

  #refuseTabs(line: string): void {
    for (let at = 0; at < line.length && isSpace(line.charAt(at)); at += 1) {
      if (line.charAt(at) === "\t") throw this.#error("a tab indents the line");
    }
    if (line.startsWith("%")) throw this.#error("directives are not read");
  }

  #error(problem: string): YamlError {
    return new YamlError(problem, this.#at + 1);
  }
}

/** How a block scalar is written: `|` or `>`, what becomes of newlines at its end, its indentation (0: that of its first line). */
interface BlockStyle {
  readonly isFolded: boolean;
  readonly chomping: string;
  readonly indent: number;
}

function readHeader(header: string, number: number): BlockStyle {
  let chomping = "";
  let indent = 0;
  let at = 1;
  for (; at < header.length && !isSpace(header.charAt(at)); at += 1) {
    const character = header.charAt(at);
    if ((character === "-" || character === "+") && chomping === "") chomping = character;
    else if (character >= "1" && character <= "9" && indent === 0) indent = parseInt(character, 10);
    else throw new YamlError(`"${header}" begins no block of text`, number);
  }
  requireBlank(header, at, number);
  return { isFolded: header.startsWith(">"), chomping, indent };
}

/** The text of a block scalar. @param blank how many blank lines follow it */
function joinLines(lines: readonly string[], blank: number, style: BlockStyle): string {
  let text = "";
  let breaks = 0;
  let isFirst = true;
  let wasIndented = false;
  for (const line of lines) {
    if (line === "") {
      breaks += 1;
      continue;
    }
    const isIndented = isSpace(line.charAt(0));
    if (isFirst) text = "\n".repeat(breaks);
    else if (!style.isFolded || wasIndented || isIndented) text += "\n".repeat(breaks + 1);
    else text += breaks === 0 ? " " : "\n".repeat(breaks);
    text += line;
    breaks = 0;
    isFirst = false;
    wasIndented = isIndented;
  }
  if (style.chomping === "+") return text + "\n".repeat(isFirst ? breaks + blank : breaks + blank + 1);
  return style.chomping === "-" || isFirst ? text : `${text}\n`;
}

/** A sequence or mapping of scalars in one line. */
function readFlow(line: string, start: number, number: number): Json {
  const isMapping = line.charAt(start) === "{";
  const close = isMapping ? "}" : "]";
  const value = isMapping ? jsonObject() : jsonArray([]);
  let at = skipSpaces(line, start + 1);
  while (line.charAt(at) !== close) {
    let key = "";
    if (isMapping) {
      const name = readFlowScalar(line, at, number);
      key = name.value.text;
      if (name.value.kind !== "string") throw new YamlError(`the key ${key} must be in quotes`, number);
      if (value.keys.includes(key)) throw new YamlError(`the key "${key}" comes twice`, number);
      at = skipSpaces(line, name.end);
      if (!isColon(line, at)) throw new YamlError("a key must be followed by a colon and a space", number);
      at = skipSpaces(line, at + 1);
    }
    const item = readFlowScalar(line, at, number);
    if (isMapping) value.with(key, item.value);
    else value.items.push(item.value);
    at = skipSpaces(line, item.end);
    if (line.charAt(at) === ",") at = skipSpaces(line, at + 1);
    else if (line.charAt(at) !== close) throw new YamlError(`expected "," or "${close}" in the same line`, number);
  }
  requireBlank(line, at + 1, number);
  return value;
}

interface FlowScalar {
  readonly value: Json;
  readonly end: number;
}

const FLOW = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./+-=@~";

function readFlowScalar(line: string, start: number, number: number): FlowScalar {
  const first = line.charAt(start);
  if (first === '"' || first === "'") {
    const { text, end } = readQuoted(line, start, number);
    return { value: new Json("string", text, [], []), end };
  }
  let end = start;
  while (end < line.length && FLOW.includes(line.charAt(end))) end += 1;
  const text = line.slice(start, end);
  if (text === "" || first === "@" || first === "-") {
    if (text.length < 2 || first === "@") {
      throw new YamlError("in brackets only plain words and quoted texts in one line are read", number);
    }
  }
  return { value: plainScalar(text), end };
}

/** The text of a plain scalar, without a comment behind it. */
function plainText(rest: string, number: number): string {
  let end = rest.length;
  for (let at = 1; at < rest.length; at += 1) {
    if (rest.charAt(at) === "#" && isSpace(rest.charAt(at - 1))) {
      end = at;
      break;
    }
  }
  const text = withoutSpaces(rest.slice(0, end));
  requirePlain(text, number);
  return text;
}

/** @throws YamlError if a text means something else than itself */
function requirePlain(text: string, number: number): void {
  const first = text.charAt(0);
  if (first === "&" || first === "*") throw new YamlError("anchors and aliases are not read", number);
  if (first === "!") throw new YamlError("tags are not read", number);
  const second = text.charAt(1);
  const isDashed = first === "-" && second !== "" && second !== " ";
  if (!isDashed && "-?:,[]{}#|>'\"%@`".includes(first))
    throw new YamlError(`a text that begins with ${first} must be in quotes`, number);
  if (text.includes(": ") || text.includes(":\t") || text.endsWith(":") || text.includes("\t")) {
    throw new YamlError("a text with a colon and a space, or a tab, must be in quotes", number);
  }
}

function requireBlank(line: string, start: number, number: number): void {
  const rest = line.slice(start);
  if (rest === "" || (isSpace(rest.charAt(0)) && isBlank(rest))) return;
  throw new YamlError("something follows the end of a value", number);
}

/** Whether a line begins with a marker of a document: "---", or "..." */
function isMarker(line: string, marker: string): boolean {
  return line.startsWith(marker) && (line.length === 3 || isSpace(line.charAt(3)));
}

function isDash(line: string, at: number): boolean {
  return line.charAt(at) === "-" && (at + 1 === line.length || isSpace(line.charAt(at + 1)));
}

function isColon(line: string, at: number): boolean {
  return line.charAt(at) === ":" && (at + 1 === line.length || isSpace(line.charAt(at + 1)));
}

function isSpace(character: string): boolean {
  return character === " " || character === "\t";
}

/** Whether a text has nothing but spaces. */
function isEmpty(text: string): boolean {
  for (let at = 0; at < text.length; at += 1) if (text.charAt(at) !== " ") return false;
  return true;
}

/** Whether a text has nothing but white space and a comment. */
function isBlank(text: string): boolean {
  for (let at = 0; at < text.length; at += 1) {
    const character = text.charAt(at);
    if (character === "#") return true;
    if (!isSpace(character)) return false;
  }
  return true;
}

/** The text without spaces and tabs at its end. Other white space, which the runtime would trim, belongs to it. */
function withoutSpaces(text: string): string {
  let end = text.length;
  while (end > 0 && isSpace(text.charAt(end - 1))) end -= 1;
  return text.slice(0, end);
}

function indentOf(line: string): number {
  return skipSpaces(line, 0);
}

function skipSpaces(line: string, start: number): number {
  let at = start;
  while (at < line.length && line.charAt(at) === " ") at += 1;
  return at;
}
