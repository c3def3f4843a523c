/**
 * Rule "exits" of shrink.ts. scriptc ends a function after each call that may throw: it releases all variables that are set by
 * then, and returns nothing. So a function has the same releases once for each of its calls. This rule releases a variable that
 * was declared later before one that was declared earlier; then the exits of a function have the same end, and share it.
 *
 * Only the order of these releases changes. No code of the program runs in a release, and a variable's own memory is on the
 * stack, so nothing can see the order.
 */

const VARIABLE = /^ {2}(%[\w.]+) = alloca ptr\b/;
const LOAD = /^ {2}(%t\d+) = load ptr, ptr (%[\w.]+)$/;
const RELEASE = /^ {2}call void @([\w.]*release[\w.]*)\(ptr (%t\d+)\)$/;
/** A return that says nothing: after a throw, or of a function without a result. */
const RETURN = /^ {2}ret (?:void|ptr null|i1 false|i32 0|double 0x0{16})$/;

/** The end of an exit: releases of variables, then the return. */
interface End {
  /** The lines from the first release to the return, the latter included. */
  readonly first: number;
  readonly last: number;
  /** The name of the block that has them from now on. */
  readonly block: string;
}

/** The blocks that exits share. */
class SharedEnds {
  readonly lines: string[] = [];
  /** The name of the block for each end, by its text. */
  readonly #names = new Map<string, string>();

  /** The block that runs a step and goes on with the block `next`; if `next` is "", the step is the return. */
  add(step: readonly string[], next: string): string {
    const key = [next, ...step].join("\n");
    const known = this.#names.get(key);
    if (known !== undefined) return known;
    const name = `exit.${this.#names.size}`;
    this.#names.set(key, name);
    this.lines.push(`${name}:`, ...step.map((line) => line.replaceAll("%released", `%${name}.released`)));
    if (next !== "") this.lines.push(`  br label %${next}`);
    return name;
  }
}

/** The lines of a function, with shared ends. */
export function withSharedExits(body: readonly string[]): readonly string[] {
  const order = variablesIn(body);
  const shared = new SharedEnds();
  const ends = new Map<number, End>();
  for (const [last, line] of body.entries()) {
    if (!RETURN.test(line)) continue;
    const end = endBefore(body, last, order, shared);
    if (end !== null) ends.set(end.first, end);
  }
  const out: string[] = [];
  for (let at = 0; at < body.length; at += 1) {
    const end = ends.get(at);
    if (end !== undefined) {
      out.push(`  br label %${end.block}`);
      at = end.last;
      continue;
    }
    if (body[at] === "}") out.push(...shared.lines);
    out.push(body[at] ?? "");
  }
  return out;
}

/** The variables of a function, and the place of each in the order of their declarations. */
function variablesIn(body: readonly string[]): ReadonlyMap<string, number> {
  const order = new Map<string, number>();
  for (const line of body) {
    const name = VARIABLE.exec(line)?.[1];
    if (name !== undefined) order.set(name, order.size);
  }
  return order;
}

/** The releases of variables before the return in line `last`; null if there are none. */
function endBefore(
  body: readonly string[],
  last: number,
  order: ReadonlyMap<string, number>,
  shared: SharedEnds,
): End | null {
  const releases: { readonly release: string; readonly variable: string }[] = [];
  let first = last;
  for (;;) {
    const [, release = "", released] = RELEASE.exec(body[first - 1] ?? "") ?? [];
    const [, loaded, variable = ""] = LOAD.exec(body[first - 2] ?? "") ?? [];
    if (released === undefined || released !== loaded || !order.has(variable)) break;
    releases.push({ release, variable });
    first -= 2;
  }
  if (releases.length === 0) return null;
  const place = (variable: string): number => order.get(variable) ?? 0;
  releases.sort((a, b) => place(a.variable) - place(b.variable));
  let block = shared.add([body[last] ?? ""], "");
  for (const { release, variable } of releases) {
    const step = [`  %released = load ptr, ptr ${variable}`, `  call void @${release}(ptr %released)`];
    block = shared.add(step, block);
  }
  return { first, last, block };
}
