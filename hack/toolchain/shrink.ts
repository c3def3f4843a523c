/**
 * Rewrites the LLVM code that scriptc writes, to make the executable smaller and faster. hack/README.md has what each rule
 * saves. scriptc counts references: each use of a value retains and releases it, and each exit of a function releases all
 * its variables. The rules:
 * - attributes: each function is optimised for size and never inlined, which would multiply the counting;
 * - literals are not counted: their count is -1, and the runtime's functions return at once for it;
 * - signed indexes: the index of a typed array is a double, and is converted to a signed integer. The code has checked that
 *   it is at least 0 and less than the length, so the result is the same. x86-64 has an instruction for signed integers,
 *   and none for unsigned ones of 64 bits;
 * - constants: a number that a module names (`const FAMILY = 2`) becomes a constant. scriptc makes it a variable that is set
 *   when the program starts, so LLVM does not know its value;
 * - nulls: a variable that is null is not released. scriptc releases what a variable held before each assignment, the first
 *   one as well. Only where null was assigned in the same basic block;
 * - pairs: a value is not counted while it is only read. The retain and its release must be in one basic block, with nothing
 *   between them that could release anything: arithmetic, loads, stores, other retains, and the runtime's functions that only
 *   read (READS). Then the value has another owner as well, and keeps it. An earlier version allowed calls in between that
 *   seemed to free nothing. It freed values that were in use;
 * - readers: functions in which nothing can be freed count nothing, and their arguments stay the caller's (readers.ts);
 * - exits: what a function's exits release is one code for all of them (exits.ts).
 *
 * conformance/toolchain compares the result with a build without this file.
 */
import { withSharedExits } from "./exits.ts";
import { type Readers, readerCalled, readersIn, withReaders } from "./readers.ts";

const ATTRIBUTES = "noinline minsize optsize nounwind";
const FUNCTION = /^(define .*\)) (?:#\d+ )?\{/;
const IMMORTAL = /^@(sc_lit_\d+) = .*global \{ i64, i64, i64, \[\d+ x i8\] \} \{ i64 -1,/;
const RETAIN = /^ {2}(%t\d+) = call ptr @\w*retain\w*\(ptr (%t\d+|@\w+)\)$/;
const RELEASE = /^ {2}call void @[\w.]*release[\w.]*\(ptr (%t\d+)\)$/;

/** The rewritten code. */
export function shrink(code: string): string {
  const lines = code.split("\n");
  const immortal = new Set(lines.map((line) => IMMORTAL.exec(line)?.[1]).filter((name) => name !== undefined));
  const out: string[] = [];
  let body: string[] | null = null;
  const readers = readersIn(lines);
  for (const line of withReaders(withConstants(lines), readers)) {
    if (line.startsWith("define ")) {
      out.push(line.replace(FUNCTION, `$1 ${ATTRIBUTES} {`));
      body = [];
    } else if (body === null) {
      out.push(line);
    } else {
      body.push(line);
      if (line === "}") {
        out.push(...shrinkBody(body, immortal, readers));
        body = null;
      }
    }
  }
  return out.join("\n");
}

const VARIABLE = /^@(sc_g_\w+) = internal global double \S+/;
const SET = /^ {2}store double (0x[0-9A-F]{16}), ptr @(sc_g_\w+)$/;
const READ = /^ {2}%t\d+ = load double, ptr @sc_g_\w+$/;

/** Rule "constants": for variables that are set once, to a literal, and otherwise only loaded. */
function withConstants(lines: readonly string[]): readonly string[] {
  const values = new Map<string, string>();
  const others = new Set<string>();
  for (const line of lines) {
    const [, value, name] = SET.exec(line) ?? [];
    if (value !== undefined && name !== undefined && !values.has(name)) values.set(name, value);
    else if (!VARIABLE.test(line) && !READ.test(line))
      for (const [used] of line.matchAll(/\bsc_g_\w+/g)) others.add(used);
  }
  for (const name of others) values.delete(name);
  return lines.flatMap((line) => {
    if (values.has(SET.exec(line)?.[2] ?? "")) return [];
    const name = VARIABLE.exec(line)?.[1] ?? "";
    const value = values.get(name);
    return value === undefined ? [line] : [`@${name} = internal constant double ${value}`];
  });
}

/** Applies the other rules to the lines of one function. Where a retain is removed, its operand replaces its result. */
function shrinkBody(body: readonly string[], immortal: ReadonlySet<string>, readers: Readers): string[] {
  const sameAs = new Map<string, string>();
  const kept = withSharedExits(
    withSignedIndexes(withoutPairs(withoutNulls(withoutLiterals(body, immortal, sameAs)), readers, sameAs)),
  );
  if (sameAs.size === 0) return [...kept];
  const original = (name: string): string => {
    const other = sameAs.get(name);
    return other === undefined ? name : original(other);
  };
  return kept.map((line) => line.replace(/%t\d+\b/g, original));
}

/** Rule "literals". Adds to `sameAs` the results of the removed retains, with the literals that replace them. */
function withoutLiterals(
  body: readonly string[],
  immortal: ReadonlySet<string>,
  sameAs: Map<string, string>,
): readonly string[] {
  return body.filter((line) => {
    const [, value, operand] = RETAIN.exec(line) ?? [];
    if (value !== undefined && operand?.startsWith("@") && immortal.has(operand.slice(1))) {
      sameAs.set(value, operand);
      return false;
    }
    const released = RELEASE.exec(line)?.[1];
    return released === undefined || !sameAs.get(released)?.startsWith("@");
  });
}

const VARIABLE_OF_REFERENCE = /^ {2}(%[\w.]+) = alloca ptr\b/;
const ASSIGNMENT = /^ {2}store ptr (\S+), ptr (%[\w.]+)$/;
const VALUE_OF = /^ {2}(%t\d+) = load ptr, ptr (%[\w.]+)$/;

/** Rule "nulls". */
function withoutNulls(body: readonly string[]): readonly string[] {
  const variables = new Set(body.map((line) => VARIABLE_OF_REFERENCE.exec(line)?.[1]));
  const nulls = new Set<string>();
  const nullValues = new Set<string>();
  return body.filter((line) => {
    if (!line.startsWith(" ")) nulls.clear();
    const [, assigned, variable = ""] = ASSIGNMENT.exec(line) ?? [];
    if (assigned === "null" && variables.has(variable)) nulls.add(variable);
    else nulls.delete(variable);
    const [, value = "", loaded = ""] = VALUE_OF.exec(line) ?? [];
    if (nulls.has(loaded)) nullValues.add(value);
    return !nullValues.has(RELEASE.exec(line)?.[1] ?? "");
  });
}

const COUNTING = /^ {2}(%t\d+) = call ptr @\w*retain\w*\(ptr (%t\d+)\)$/;
const SILENT =
  /^ {2}(?:store |%t\d+ = (?:load|getelementptr|f?add|f?sub|f?mul|fneg|[if]cmp|[su]itofp|fpto[su]i|[sz]ext|trunc|and|or|xor|shl|[al]shr|select) )/;
/**
 * Calls of the runtime's functions that release nothing, and for which the count of what they are given makes no difference.
 * (`scr_str_concat` is none of them: it appends in place if a string has one owner.)
 */
const READS =
  /^ {2}%t\d+ = call [\w ]+ @scr_(?:arr_(?:len|has|state|get_f64|get_ref)|bytes_len|str_(?:eq|utf16_len)|union_(?:get_f64|new_ref|new_f64)|exc_pending)\(/;

/** Rule "pairs". Adds to `sameAs` the results of the removed retains, with their operands. */
function withoutPairs(body: readonly string[], readers: Readers, sameAs: Map<string, string>): readonly string[] {
  const dropped = new Set<number>();
  /* From the end: a pair inside another pair must be removed first. */
  for (let at = body.length - 1; at >= 0; at -= 1) {
    const [, value, operand = ""] = COUNTING.exec(body[at] ?? "") ?? [];
    if (value === undefined) continue;
    let end = at + 1;
    while (dropped.has(end) || isPassedOver(body[end] ?? "", readers)) end += 1;
    if (RELEASE.exec(body[end] ?? "")?.[1] !== value) continue;
    dropped.add(at).add(end);
    sameAs.set(value, operand);
  }
  return body.filter((_, at) => !dropped.has(at));
}

function isPassedOver(line: string, readers: Readers): boolean {
  return [SILENT, COUNTING, READS].some((what) => what.test(line)) || readers.has(readerCalled(line));
}

const LENGTH = /^ {2}(%t\d+) = getelementptr inbounds %ScrBytes, ptr %t\d+, i64 0, i32 1$/;
const LOAD = /^ {2}(%t\d+) = load i64, ptr (%t\d+)$/;
const INDEX = /^ {2}(%t\d+) = fptoui double \S+ to i64$/;
const TO_DOUBLE = /^ {2}%t\d+ = uitofp i64 (%t\d+) to double$/;

/** Rule "signed indexes": for the lengths of typed arrays, and for indexes after the branch that found them in range. */
function withSignedIndexes(body: readonly string[]): readonly string[] {
  const lengthFields = new Set<string>();
  const positive = new Set<string>();
  let inRange = false;
  return body.map((line) => {
    if (!line.startsWith(" ")) inRange = line.startsWith("bytes.index.range");
    const field = LENGTH.exec(line)?.[1];
    if (field !== undefined) lengthFields.add(field);
    const [, length, loaded = ""] = LOAD.exec(line) ?? [];
    if (length !== undefined && lengthFields.has(loaded)) positive.add(length);
    const index = inRange ? INDEX.exec(line)?.[1] : undefined;
    if (index !== undefined) {
      positive.add(index);
      return line.replace("fptoui", "fptosi");
    }
    return positive.has(TO_DOUBLE.exec(line)?.[1] ?? "") ? line.replace("uitofp", "sitofp") : line;
  });
}
