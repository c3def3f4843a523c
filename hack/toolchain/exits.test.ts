import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { withSharedExits } from "./exits.ts";

/** A function with variables `%a`, `%b`, ... and one exit for each list of variables, which releases them and returns. */
function functionWith(
  variables: readonly string[],
  exits: readonly (readonly string[])[],
  ending = "ret ptr null",
): string[] {
  let value = 0;
  const release = (name: string): string[] => {
    value += 1;
    return [`  %t${value} = load ptr, ptr %${name}`, `  call void @release_${name}(ptr %t${value})`];
  };
  return [
    "entry:",
    ...variables.map((name) => `  %${name} = alloca ptr ; ${name}`),
    ...exits.flatMap((names, i) => [`exc.u${i}:`, ...names.flatMap(release), `  ${ending}`]),
    "}",
  ];
}

/** What is released, and how the function returns, from a block on. */
function run(body: readonly string[], label: string): string[] {
  const done: string[] = [];
  let at = body.indexOf(`${label}:`) + 1;
  const loaded = new Map<string, string>();
  for (;;) {
    const line = (body[at] ?? "").trim();
    const [, value, variable] = /^(%[\w.]+) = load ptr, ptr (%\w+)$/.exec(line) ?? [];
    const [, release, released = ""] = /^call void @(\w+)\(ptr (%[\w.]+)\)$/.exec(line) ?? [];
    const next = /^br label %([\w.]+)$/.exec(line)?.[1];
    if (value !== undefined && variable !== undefined) loaded.set(value, variable);
    else if (release !== undefined) done.push(`${release} ${loaded.get(released) ?? released}`);
    else if (next === undefined) return [...done, line];
    at = next === undefined ? at + 1 : body.indexOf(`${next}:`) + 1;
  }
}

function count(body: readonly string[], text: string): number {
  return body.filter((line) => line.includes(text)).length;
}

describe("exits", () => {
  it("share what they release at their end, the variable that was declared first last", () => {
    const body = withSharedExits(functionWith(["a", "b", "c"], [["a"], ["a", "b"], ["a", "b", "c"], ["a", "b"]]));
    expect(run(body, "exc.u0")).toEqual(["release_a %a", "ret ptr null"]);
    expect(run(body, "exc.u3")).toEqual(["release_b %b", "release_a %a", "ret ptr null"]);
    expect(run(body, "exc.u2")).toEqual(["release_c %c", "release_b %b", "release_a %a", "ret ptr null"]);
    for (const name of ["a", "b", "c"]) expect(count(body, `@release_${name}(`)).toBe(1);
  });

  it("keep what they release of values before, in its order", () => {
    const lines = ["  call void @scr_str_release(ptr %t91)", "  call void @scr_arr_release(ptr %t90)"];
    const body = functionWith(["a"], [["a"]]);
    body.splice(body.indexOf("exc.u0:") + 1, 0, ...lines);
    expect(run(withSharedExits(body), "exc.u0")).toEqual([
      "scr_str_release %t91",
      "scr_arr_release %t90",
      "release_a %a",
      "ret ptr null",
    ]);
  });

  it("are left alone where a value is returned, or something else is released or loaded", () => {
    const bodies = [
      functionWith(["a"], [["a"], ["a"]], "ret ptr %t77"),
      functionWith(["a"], [["a"]]).map((line) => line.replace("alloca ptr", "getelementptr ptr")),
      functionWith(["a"], [["a"]]).map((line) => line.replace("release_a(ptr %t1)", "release_a(ptr %t2)")),
      functionWith(["a"], [["a"]]).map((line) => line.replace("call void @release_a", "call void @scr_drop")),
    ];
    for (const body of bodies) expect(withSharedExits(body)).toEqual(body);
  });

  it("release the same as before, whatever they are", () => {
    const names = ["a", "b", "c", "d", "e"];
    fc.assert(
      fc.property(fc.array(fc.shuffledSubarray(names), { maxLength: 8 }), (exits) => {
        const before = functionWith(names, exits);
        const after = withSharedExits(before);
        exits.forEach((_, i) => {
          const [released, expected] = [run(after, `exc.u${i}`), run(before, `exc.u${i}`)];
          expect(released.at(-1)).toBe(expected.at(-1));
          expect(released.toSorted()).toEqual(expected.toSorted());
        });
      }),
    );
  });
});
