/**
 * Rewrites the LLVM code that scriptc writes so that the executable comes out a third smaller. scriptc counts references:
 * every use of a value retains and releases it, and each way out of a function releases all its variables. So
 * - every function is marked to be optimised for size and not to be copied into its callers, which would multiply that;
 * - literals are not counted: their counter is -1, at which the runtime's functions return at once;
 * - a retain and its release are left out where nothing between them, in one basic block, can free anything: only
 *   releases free, so that is so if every release between them belongs to a retain between them.
 *
 * Usage: node shrink.ts IN.ll OUT.ll
 */
import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const ATTRIBUTES = "noinline minsize optsize nounwind";
const FUNCTION = /^(define .*\)) (?:#\d+ )?\{/;
const IMMORTAL = /^@(sc_lit_\d+) = .*global \{ i64, i64, i64, \[\d+ x i8\] \} \{ i64 -1,/;
const LABEL = /^[\w.]+:/;
const RETAIN = /^ {2}(%t\d+) = call ptr @\w*retain\w*\(ptr (%t\d+|@\w+)\)$/;
const RETAIN_ODD_NAME = /^ {2}(%t\d+) = call ptr @sc_r?retain_[\w.]+\(ptr (%t\d+)\)$/;
const RELEASE = /^ {2}call void @[\w.]*release[\w.]*\(ptr (%t\d+)\)$/;
const CALL = /call [^@]*@([\w.]+)\(/;
const END = /^ {2}(br|ret|switch|unreachable)\b/;
/** Functions of the runtime that only look, or only make something new. */
const FREES_NOTHING = new Set([
  "scr_str_eq",
  "scr_arr_len",
  "scr_str_len",
  "scr_bytes_len",
  "scr_str_concat",
  "scr_exc_pending",
  "scr_f64_to_scrstr",
]);

/** The rewritten code. */
export function shrink(code: string): string {
  const lines = code.split("\n");
  const immortal = new Set(lines.map((line) => IMMORTAL.exec(line)?.[1]).filter((name) => name !== undefined));
  const out: string[] = [];
  let body: string[] | null = null;
  for (const line of lines) {
    if (line.startsWith("define ")) {
      out.push(line.replace(FUNCTION, `$1 ${ATTRIBUTES} {`));
      body = [];
    } else if (body === null) {
      out.push(line);
    } else {
      body.push(line);
      if (line === "}") {
        out.push(...shrinkBody(body, immortal));
        body = null;
      }
    }
  }
  return out.join("\n");
}

/** One function's lines without the pairs that do nothing; what was called by the retain's name is called by its operand's. */
function shrinkBody(body: readonly string[], immortal: ReadonlySet<string>): string[] {
  const sameAs = new Map<string, string>();
  const kept = withoutLiterals(body, immortal, sameAs);
  const out: string[] = [];
  for (let start = 0; start < kept.length; ) {
    let end = start + 1;
    while (end < kept.length && !LABEL.test(kept[end] ?? "")) end += 1;
    out.push(...withoutPairs(kept.slice(start, end), sameAs));
    start = end;
  }
  if (sameAs.size === 0) return out;
  const original = (name: string): string => {
    const other = sameAs.get(name);
    return other === undefined ? name : original(other);
  };
  return out.map((line) => line.replace(/%t\d+\b/g, original));
}

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

function withoutPairs(block: readonly string[], sameAs: Map<string, string>): readonly string[] {
  const dropped = new Set<number>();
  for (let i = 0; i < block.length; i += 1) {
    const [, value, operand] = retainIn(block[i] ?? "");
    if (value === undefined || operand === undefined) continue;
    const release = matchingRelease(block, i, value, dropped);
    if (release === null) continue;
    dropped.add(i);
    dropped.add(release);
    sameAs.set(value, operand);
  }
  return block.filter((_, i) => !dropped.has(i));
}

/** Where the value is released again, if nothing can be freed before; otherwise null. */
function matchingRelease(
  block: readonly string[],
  from: number,
  value: string,
  dropped: ReadonlySet<number>,
): number | null {
  const retained = new Set([value]);
  for (let i = from + 1; i < block.length; i += 1) {
    const line = block[i] ?? "";
    if (dropped.has(i)) continue;
    const released = RELEASE.exec(line)?.[1];
    if (released === value) return i;
    if (released !== undefined) {
      /* Each retain pays for one release. */
      if (!retained.delete(released)) return null;
      continue;
    }
    const another = retainIn(line)[1];
    if (another !== undefined) {
      retained.add(another);
      continue;
    }
    const called = CALL.exec(line)?.[1];
    if ((called !== undefined && !FREES_NOTHING.has(called)) || END.test(line)) return null;
  }
  return null;
}

function retainIn(line: string): readonly (string | undefined)[] {
  return RETAIN_ODD_NAME.exec(line) ?? RETAIN.exec(line) ?? [];
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [input, output] = process.argv.slice(2);
  if (input === undefined || output === undefined) throw new Error("usage: node shrink.ts IN.ll OUT.ll");
  writeFileSync(output, shrink(readFileSync(input, "utf8")));
}
