/**
 * Rule "readers" of shrink.ts. In scriptc's code the caller of a function counts a reference for each argument, and the function
 * releases it before it returns. A *reader* is a function in which nothing can be freed and from which no reference comes out:
 * it makes no object, stores no reference but in its own variables, returns a number or nothing, and calls only other readers
 * and functions of the runtime that look and do not keep. While it runs, whoever had a reference to an object before still
 * has it. So a reader counts nothing at all, and its arguments stay the caller's:
 *
 * - in a reader no value is retained or released;
 * - where a reader is called, an argument that was retained for the call alone is not retained, unless something between the
 *   two could free it; an argument that was the reader's to release is released by the caller after the call.
 *
 * A function that is called by its address (a method of several classes, a callback) is no reader: such calls are not seen here.
 */

const DEFINE = /^define internal (?:(?:zeroext|signext) )?(?:double|i\d+|void) @(sc_f_\w+)\((.*)\) #\d+ \{/;
const POINTER_PARAMETER = /^ptr (?:\w+ )*(%\w+)$/;
const LOCAL = /^ {2}(%[\w.]+) = alloca /;
const POINTER_STORE = /^ {2}store ptr (\S+), ptr (%[\w.]+)$/;
const LOAD = /^ {2}(%t\d+) = load ptr, ptr (%[\w.]+)$/;
const RETAIN = /^ {2}(%t\d+) = call ptr @\w*retain\w*\(ptr ([%@][\w.]+)\)$/;
const RELEASE = /^ {2}call void @([\w.]*release[\w.]*)\(ptr (%t\d+)\)$/;
/** What frees nothing and lets no reference out: arithmetic, loads, stores of numbers, branches. */
const HARMLESS =
  /^(?:[\w.]+:| {2}(?:%[\w.]+ = (?:alloca|load|getelementptr|phi|select|freeze|f?add|f?sub|f?mul|[fsu]div|[fsu]rem|fneg|[if]cmp|[su]itofp|fpto[su]i|[sz]ext|trunc|bitcast|and|or|xor|shl|[al]shr) .*|store (?:double|float|i\d+) .*|br .*|switch .*|ret .*|unreachable|\]|i\d+ .*)|\})$/;
/** The runtime's functions that look at what they are given and keep nothing. `scr_bytes_get` ends the process where it is called. */
const LOOKS =
  /^ {2}(?:%t\d+ = )?call [\w ]+ @(?:llvm\.\w+(?:\.\w+)*|scr_(?:arr_(?:len|has|state|get_f64)|bytes_(?:len|get)|str_(?:eq|utf16_len|starts_with|cmp_u16)|math_(?:min|max)|union_get_f64|exc_pending))\(/;
const CALL = /^ {2}(?:%t\d+ = )?call (?:zeroext |signext )?(?:double|i\d+|void) @(sc_f_\w+)\((.*)\)$/;

interface Function {
  readonly name: string;
  readonly parameters: readonly string[];
  readonly body: readonly string[];
}

/** A reader, and what releases each of its parameters; "" for those that are not counted. */
export type Readers = ReadonlyMap<string, readonly string[]>;

/** The rewritten lines of a module. */
export function withReaders(lines: readonly string[], readers: Readers): string[] {
  const out: string[] = [];
  for (let at = 0; at < lines.length; at += 1) {
    const line = lines[at] ?? "";
    out.push(line);
    if (!line.startsWith("define ")) continue;
    const end = lines.indexOf("}", at);
    const body = lines.slice(at + 1, end);
    const name = DEFINE.exec(line)?.[1] ?? "";
    out.push(...(readers.has(name) ? uncounted(body) : calling(body, readers)), "}");
    at = end;
  }
  return out;
}

/** Whether a line can neither free anything nor let a reference out. */
export function isHarmless(line: string, readers: Readers): boolean {
  const called = CALL.exec(line)?.[1];
  return called === undefined ? HARMLESS.test(line) || LOOKS.test(line) || RETAIN.test(line) : readers.has(called);
}

/** All readers of a module: the functions that are left when those are struck out that do something else or call one of them. */
export function readersIn(lines: readonly string[]): Readers {
  const candidates = new Map<string, Function>();
  const addressed = new Set<string>();
  for (let at = 0; at < lines.length; at += 1) {
    const line = lines[at] ?? "";
    for (const name of addressesIn(line)) addressed.add(name);
    if (!line.startsWith("define ")) continue;
    const [, name = "", parameters = ""] = DEFINE.exec(line) ?? [];
    if (name === "") continue;
    const body = lines.slice(at + 1, lines.indexOf("}", at));
    candidates.set(name, { name, parameters: parameters === "" ? [] : parameters.split(", "), body });
  }
  const readers = new Map<string, readonly string[]>();
  for (const candidate of candidates.values()) {
    const releases = addressed.has(candidate.name) ? null : releasesOf(candidate);
    if (releases !== null && candidate.body.every((line) => isOwnMatter(line, candidate, candidates)))
      readers.set(candidate.name, releases);
  }
  for (let before = -1; before !== readers.size; ) {
    before = readers.size;
    for (const name of [...readers.keys()]) {
      const body = candidates.get(name)?.body ?? [];
      if (body.some((line) => !readers.has(CALL.exec(line)?.[1] ?? name))) readers.delete(name);
    }
  }
  return readers;
}

/** The functions whose addresses a line takes. */
function addressesIn(line: string): string[] {
  const names = line.match(/@sc_f_\w+/g) ?? [];
  const called = line.startsWith("define ") ? DEFINE.exec(line)?.[1] : CALL.exec(line)?.[1];
  const isOnce = names.length === 1 && called !== undefined;
  return isOnce ? [] : names.map((name) => name.slice(1));
}

/** A line that a reader may have, if all functions that it calls are readers. */
function isOwnMatter(line: string, { body }: Function, candidates: ReadonlyMap<string, Function>): boolean {
  const [, , place = ""] = POINTER_STORE.exec(line) ?? [];
  if (place !== "") return localsIn(body).has(place);
  const called = CALL.exec(line)?.[1];
  if (called !== undefined) return candidates.has(called);
  return isHarmless(line, new Map()) || RELEASE.test(line);
}

const locals = new WeakMap<readonly string[], ReadonlySet<string>>();

function localsIn(body: readonly string[]): ReadonlySet<string> {
  const known = locals.get(body) ?? new Set(body.map((line) => LOCAL.exec(line)?.[1] ?? ""));
  locals.set(body, known);
  return known;
}

/** What releases each parameter of a function; null if one that is counted has no release. */
function releasesOf({ parameters, body }: Function): readonly string[] | null {
  const variables = new Map<string, string>();
  const releases = new Map<string, string>();
  const loaded = new Map<string, string>();
  for (const line of body) {
    const [, value = "", variable = ""] = POINTER_STORE.exec(line) ?? [];
    if (value.startsWith("%p_")) variables.set(value, variable);
    const [, result = "", from = ""] = LOAD.exec(line) ?? [];
    if (result !== "") loaded.set(result, from);
    const [, release = "", released = ""] = RELEASE.exec(line) ?? [];
    if (release !== "") releases.set(loaded.get(released) ?? "", release);
  }
  const found = parameters.map((parameter) => {
    const name = POINTER_PARAMETER.exec(parameter)?.[1];
    if (name === undefined) return parameter.startsWith("ptr") ? null : "";
    return releases.get(variables.get(name) ?? "?") ?? null;
  });
  return found.every((release) => release !== null) ? found : null;
}

/** The lines of a reader without retains and releases. */
function uncounted(body: readonly string[]): string[] {
  const sameAs = new Map<string, string>();
  const kept = body.filter((line) => {
    const [, value, operand = ""] = RETAIN.exec(line) ?? [];
    if (value !== undefined) sameAs.set(value, operand);
    return value === undefined && !RELEASE.test(line);
  });
  return renamed(kept, sameAs);
}

/** The lines of a function that is no reader: its calls of readers. */
function calling(body: readonly string[], readers: Readers): string[] {
  if (!body.some((line) => readers.has(CALL.exec(line)?.[1] ?? ""))) return [...body];
  const uses = usesIn(body);
  const sameAs = new Map<string, string>();
  const out: string[] = [];
  for (const line of body) {
    const [, name = "", text = ""] = CALL.exec(line) ?? [];
    const releases = readers.get(name);
    out.push(line);
    if (releases === undefined) continue;
    let callAt = out.length - 1;
    for (const [place, argument] of text.split(", ").entries()) {
      const release = releases[place] ?? "";
      const value = argument.startsWith("ptr ") ? argument.slice(4) : "";
      if (release === "" || !value.startsWith("%")) continue;
      const retained = uses.get(value) === 2 ? retainBefore(out, callAt, value, readers) : -1;
      if (retained < 0) {
        out.push(`  call void @${release}(ptr ${value})`);
        continue;
      }
      sameAs.set(value, RETAIN.exec(out[retained] ?? "")?.[2] ?? "");
      out.splice(retained, 1);
      callAt -= 1;
    }
  }
  return renamed(out, sameAs);
}

/** How often each value stands in the lines. */
function usesIn(body: readonly string[]): Map<string, number> {
  const uses = new Map<string, number>();
  for (const line of body) for (const [value] of line.matchAll(/%t\d+\b/g)) uses.set(value, (uses.get(value) ?? 0) + 1);
  return uses;
}

/** The line that retains a value for a call; -1 if something could free it between the two. */
function retainBefore(out: readonly string[], callAt: number, value: string, readers: Readers): number {
  for (let at = callAt - 1; at >= 0; at -= 1) {
    const line = out[at] ?? "";
    if (RETAIN.exec(line)?.[1] === value) return at;
    if (line.endsWith(":") || !isHarmless(line, readers)) return -1;
  }
  return -1;
}

/** The lines with other names for values. */
function renamed(lines: readonly string[], sameAs: ReadonlyMap<string, string>): string[] {
  if (sameAs.size === 0) return [...lines];
  const original = (name: string): string => {
    const other = sameAs.get(name);
    return other === undefined ? name : original(other);
  };
  return lines.map((line) => line.replace(/%t\d+\b/g, original));
}

/** The function that a line calls, if it has no result or a number; "" for none. */
export function readerCalled(line: string): string {
  return CALL.exec(line)?.[1] ?? "";
}
