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

  it("drops a pair with nothing but looking between", () => {
    expect(
      shrunk("%t1 = load ptr, ptr %s", RETAIN, "%t3 = call zeroext i1 @scr_str_eq(ptr %t2, ptr %p)", RELEASE),
    ).toEqual(["%t1 = load ptr, ptr %s", "%t3 = call zeroext i1 @scr_str_eq(ptr %t1, ptr %p)"]);
  });

  it("drops pairs inside each other and side by side", () => {
    const inner = ["%t4 = call ptr @sc_rretain_r7(ptr %t3)", "call void @sc_rrelease_r7(ptr %t4)"];
    expect(shrunk(RETAIN, ...inner, RELEASE, "ret void")).toEqual(["ret void"]);
    expect(shrunk(RETAIN, inner[0] ?? "", RELEASE, inner[1] ?? "", "ret void")).toEqual(["ret void"]);
  });

  it("keeps a pair around anything that may free", () => {
    for (const between of [
      "call void @sc_f_other(ptr %t2)",
      "call void @scr_str_release(ptr %t9)",
      "%t5 = call ptr @scr_union_new_ref(i32 0, ptr %t2, ptr @a, ptr @b, ptr null)",
    ]) {
      expect(shrunk(RETAIN, between, RELEASE)).toEqual([RETAIN, between, RELEASE]);
    }
  });

  it("keeps a pair when something retained between is released twice", () => {
    const twice = [
      "%t4 = call ptr @scr_arr_retain_v(ptr %t3)",
      "call void @scr_arr_release(ptr %t4)",
      "call void @scr_arr_release(ptr %t4)",
    ];
    expect(shrunk(RETAIN, ...twice, RELEASE)).toContain(RETAIN);
  });

  it("keeps what is retained in one block and released in another", () => {
    expect(shrunk(RETAIN, "br label %next", "next:", RELEASE)).toContain(RETAIN);
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
