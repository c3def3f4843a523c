import { describe, expect, it } from "vitest";
import { shrink } from "./shrink.ts";

/** A function whose one basic block is the given lines, and what is left of it. */
function shrunk(...block: string[]): string[] {
  const code = ["define internal void @f(ptr %p) #0 { ; f", "entry:", ...block.map((line) => `  ${line}`), "}"].join(
    "\n",
  );
  return shrink(code)
    .split("\n")
    .slice(2, -1)
    .map((line) => line.trim());
}

const RETAIN = "%t2 = call ptr @scr_str_retain_v(ptr %t1)";
const RELEASE = "call void @scr_str_release(ptr %t2)";

describe("shrink", () => {
  it("marks functions, and keeps their parameters", () => {
    expect(shrink("define internal i1 @f(ptr %a, i32 %b) #0 { ; %m1.f\n  ret i1 false\n}")).toBe(
      "define internal i1 @f(ptr %a, i32 %b) noinline minsize optsize nounwind { ; %m1.f\n  ret i1 false\n}",
    );
  });

  it("keeps what is retained and released, whatever is between", () => {
    expect(shrunk(RETAIN, RELEASE)).toEqual([RETAIN, RELEASE]);
  });

  it("does not count literals that are never freed, and counts others", () => {
    const literal = (count: string): string =>
      `@sc_lit_1 = internal global { i64, i64, i64, [2 x i8] } { i64 ${count}, i64 1, i64 1, [2 x i8] c"a\\00" }`;
    const use = [
      "define void @f() #0 {",
      "  %t1 = call ptr @scr_str_retain_v(ptr @sc_lit_1)",
      "  call void @g(ptr %t1)",
      "  call void @scr_str_release(ptr %t1)",
      "}",
    ];
    expect(shrink([literal("-1"), ...use].join("\n"))).toContain("{\n  call void @g(ptr @sc_lit_1)\n}");
    expect(shrink([literal("1"), ...use].join("\n"))).toContain("retain");
  });
});
