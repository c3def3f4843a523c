/** Scalars of YAML 1.2 (core schema): what kind they are, and quoted ones. Pure. */
import { Json, type JsonKind } from "../cni/json.ts";
import { isDigits } from "../text.ts";

/** The text is no YAML, or more of YAML than is read here; `message` says what and in which line. */
export class YamlError extends Error {
  constructor(problem: string, line: number) {
    super(`line ${line}: ${problem}`);
    this.name = "YamlError";
  }
}

/** A plain scalar. A number keeps its text. */
export function plainScalar(text: string): Json {
  return new Json(kindOf(text), text, [], []);
}

const NULLS: readonly string[] = ["", "~", "null", "Null", "NULL"];
const BOOLEANS: readonly string[] = ["true", "True", "TRUE", "false", "False", "FALSE"];
const SPECIAL: readonly string[] = [".inf", ".Inf", ".INF", ".nan", ".NaN", ".NAN"];

function kindOf(text: string): JsonKind {
  if (NULLS.includes(text)) return "null";
  if (BOOLEANS.includes(text)) return "boolean";
  return isNumber(text) ? "number" : "string";
}

function isNumber(text: string): boolean {
  if (text.startsWith("0x")) return hasOnly(text.slice(2), "0123456789abcdefABCDEF");
  if (text.startsWith("0o")) return hasOnly(text.slice(2), "01234567");
  const isSigned = text.startsWith("-") || text.startsWith("+");
  const unsigned = isSigned ? text.slice(1) : text;
  if (SPECIAL.includes(unsigned)) return !isSigned || unsigned.slice(1, 2) !== "n";
  const e = Math.max(unsigned.indexOf("e"), unsigned.indexOf("E"));
  if (e >= 0) {
    const exponent = unsigned.slice(e + 1);
    const digits = exponent.startsWith("-") || exponent.startsWith("+") ? exponent.slice(1) : exponent;
    if (!isDigits(digits)) return false;
  }
  const mantissa = e < 0 ? unsigned : unsigned.slice(0, e);
  const point = mantissa.indexOf(".");
  if (point < 0) return isDigits(mantissa);
  const whole = mantissa.slice(0, point);
  const rest = mantissa.slice(point + 1);
  if (whole === "") return isDigits(rest);
  return isDigits(whole) && (rest === "" || isDigits(rest));
}

function hasOnly(text: string, characters: string): boolean {
  for (let at = 0; at < text.length; at += 1) if (!characters.includes(text.charAt(at))) return false;
  return text !== "";
}

/** A quoted scalar and the position behind it. */
export interface Quoted {
  readonly text: string;
  readonly end: number;
}

/**
 * Reads the quoted scalar that begins at `start`; it must end in the same line.
 * @param number the line's number, for errors
 * @throws YamlError
 */
export function readQuoted(line: string, start: number, number: number): Quoted {
  return line.charAt(start) === "'" ? readSingle(line, start, number) : readDouble(line, start, number);
}

function readSingle(line: string, start: number, number: number): Quoted {
  let text = "";
  let from = start + 1;
  for (;;) {
    const quote = line.indexOf("'", from);
    if (quote < 0) throw unclosed(number);
    text += line.slice(from, quote);
    if (line.charAt(quote + 1) !== "'") return { text, end: quote + 1 };
    text += "'";
    from = quote + 2;
  }
}

function readDouble(line: string, start: number, number: number): Quoted {
  let text = "";
  let at = start + 1;
  while (at < line.length) {
    const character = line.charAt(at);
    if (character === '"') return { text, end: at + 1 };
    if (character !== "\\") {
      text += character;
      at += 1;
      continue;
    }
    const mark = line.charAt(at + 1);
    const length = mark === "x" ? 2 : mark === "u" ? 4 : mark === "U" ? 8 : 0;
    text += length > 0 ? codePoint(line.slice(at + 2, at + 2 + length), length, number) : simpleEscape(mark, number);
    at += 2 + length;
  }
  throw unclosed(number);
}

const ESCAPES = '0abtnvfre "/\\N_LP';
const ESCAPED = '\u0000\u0007\b\t\n\v\f\r\u001b "/\\\u0085\u00a0\u2028\u2029';

function simpleEscape(mark: string, number: number): string {
  const index = mark === "" ? -1 : ESCAPES.indexOf(mark);
  if (index < 0) throw new YamlError(`"\\${mark}" is no escape`, number);
  return ESCAPED.charAt(index);
}

function codePoint(digits: string, length: number, number: number): string {
  const value = digits.length === length && hasOnly(digits, HEX) ? parseInt(digits, 16) : -1;
  if (value < 0 || value > 0x10ffff) throw new YamlError(`"${digits}" is no character's number`, number);
  if (value < 0x10000) return String.fromCharCode(value);
  return String.fromCharCode(0xd800 + ((value - 0x10000) >> 10), 0xdc00 + ((value - 0x10000) & 0x3ff));
}

const HEX = "0123456789abcdefABCDEF";

function unclosed(number: number): YamlError {
  return new YamlError("a quoted text must end in the line that it begins in", number);
}
