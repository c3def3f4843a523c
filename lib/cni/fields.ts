/**
 * Typed reading of a configuration. An error names the path of the field: code 7, "ipam.ranges[0][1].subnet". Names match
 * regardless of case, as in the reference plugins.
 */
import { CniError, INVALID_CONFIG } from "../errors.ts";
import { itemAt, textAt } from "../lists.ts";
import { asciiLower, clip, isDigits } from "../text.ts";
import type { Json } from "./json.ts";

/** The members of one JSON object, and its path in the configuration. Every read throws CniError 7 for a wrong type. */
export class Fields {
  readonly json: Json;
  /** The path of the object; "" for the configuration itself. */
  readonly path: string;
  /** The members that are not null, by their names in lower case; the first `#indexed` members are in it. */
  readonly #index = new Map<string, Json>();
  #indexed = 0;

  constructor(json: Json, path: string) {
    this.json = json;
    this.path = path;
  }

  /** The path of a member: "ipam.subnet". */
  pathOf(key: string): string {
    return this.path === "" ? key : `${this.path}.${key}`;
  }

  /** A member's value; null if it is absent or null. If several spellings are present the last one counts. */
  find(key: string): Json | null {
    const { keys, items } = this.json;
    for (; this.#indexed < keys.length; this.#indexed += 1) {
      const value = itemAt(items, this.#indexed);
      if (value === null || value.kind === "null") continue;
      this.#index.set(asciiLower(textAt(keys, this.#indexed)), value);
    }
    return this.#index.get(asciiLower(key)) ?? null;
  }

  has(key: string): boolean {
    return this.find(key) !== null;
  }

  /** Whether a member is present, also if its value is null. */
  mentions(key: string): boolean {
    const lower = asciiLower(key);
    for (const name of this.json.keys) if (asciiLower(name) === lower) return true;
    return false;
  }

  string(key: string, fallback: string): string {
    const value = this.find(key);
    if (value === null) return fallback;
    if (value.kind !== "string") throw wrongType(this.pathOf(key), "a string", value);
    return value.text;
  }

  boolean(key: string, fallback: boolean): boolean {
    const value = this.find(key);
    if (value === null) return fallback;
    if (value.kind !== "boolean") throw wrongType(this.pathOf(key), "true or false", value);
    return value.text === "true";
  }

  /** A whole number within [min, max]; null if absent. */
  integer(key: string, min: number, max: number): number | null {
    const value = this.find(key);
    return value === null ? null : integerOf(value, this.pathOf(key), min, max);
  }

  /** An object; null if absent. */
  object(key: string): Fields | null {
    const value = this.find(key);
    if (value === null) return null;
    if (value.kind !== "object") throw wrongType(this.pathOf(key), "an object", value);
    return new Fields(value, this.pathOf(key));
  }

  /** The elements of an array; empty if absent. */
  array(key: string): readonly Json[] {
    const value = this.find(key);
    return value === null ? [] : arrayOf(value, this.pathOf(key));
  }

  /** The elements of an array of objects; empty if absent. */
  objects(key: string): Fields[] {
    const objects: Fields[] = [];
    for (const item of this.array(key)) {
      const path = `${this.pathOf(key)}[${objects.length}]`;
      if (item.kind !== "object") throw wrongType(path, "an object", item);
      objects.push(new Fields(item, path));
    }
    return objects;
  }

  /** The elements of an array of strings; empty if absent. */
  strings(key: string): string[] {
    const texts: string[] = [];
    for (const item of this.array(key)) {
      if (item.kind !== "string") throw wrongType(`${this.pathOf(key)}[${texts.length}]`, "a string", item);
      texts.push(item.text);
    }
    return texts;
  }

  /** An error for one member. */
  invalid(key: string, problem: string): CniError {
    return invalidField(this.pathOf(key), problem);
  }
}

/** The elements of a value that must be an array. @throws CniError 7 */
export function arrayOf(value: Json, path: string): readonly Json[] {
  if (value.kind !== "array") throw wrongType(path, "an array", value);
  return value.items;
}

/** A value that must be a whole number within [min, max]. @throws CniError 7 */
export function integerOf(value: Json, path: string, min: number, max: number): number {
  if (value.kind !== "number") throw wrongType(path, "a whole number", value);
  const digits = value.text.startsWith("-") ? value.text.slice(1) : value.text;
  if (!isDigits(digits)) throw invalidField(path, `expected a whole number, found ${clip(value.text)}`);
  const number = digits.length > 16 ? Number.POSITIVE_INFINITY : parseInt(digits, 10);
  const signed = value.text.startsWith("-") ? -number : number;
  if (signed < min || signed > max) throw invalidField(path, `${clip(value.text)} is not between ${min} and ${max}`);
  return signed === 0 ? 0 : signed;
}

/** A problem quotes the value that was found, which may be megabytes. */
const MAX_PROBLEM_LENGTH = 400;

/** An error with code 7 whose message has the field's path, then the problem. */
export function invalidField(path: string, problem: string): CniError {
  const shown = problem.length > MAX_PROBLEM_LENGTH ? `${problem.slice(0, MAX_PROBLEM_LENGTH)}...` : problem;
  return new CniError(INVALID_CONFIG, `invalid value for "${path}": ${shown}`);
}

function wrongType(path: string, expected: string, found: Json): CniError {
  const shown = found.kind === "string" ? `the string "${clip(found.text)}"` : described(found);
  return invalidField(path, `expected ${expected}, found ${shown}`);
}

function described(value: Json): string {
  if (value.kind === "object" || value.kind === "array") return `an ${value.kind}`;
  return value.kind === "number" ? `the number ${clip(value.text)}` : value.text;
}
