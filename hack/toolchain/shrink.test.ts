import { describe, expect, it } from "vitest";
import { shrink } from "./shrink.ts";

/** What remains of a function whose only basic block has the given lines. */
function shrunk(...block: string[]): string[] {
  const code = [
    "define internal void @f(ptr %p) #0 { ; f",
    "entry:",
    ...block.map((line) => (line.endsWith(":") ? line : `  ${line}`)),
    "}",
  ].join("\n");
  return shrink(code)
    .split("\n")
    .slice(2, -1)
    .map((line) => line.trim());
}

/** The lines of a function with a variable. */
function withVariable(...block: string[]): string[] {
  return ["%v = alloca ptr ; v", ...block];
}

const RETAIN = "%t2 = call ptr @scr_str_retain_v(ptr %t1)";
const RELEASE = "call void @scr_str_release(ptr %t2)";

describe("shrink", () => {
  it("adds attributes to functions and keeps their parameters", () => {
    expect(shrink("define internal i1 @f(ptr %a, i32 %b) #0 { ; %m1.f\n  ret i1 false\n}")).toBe(
      "define internal i1 @f(ptr %a, i32 %b) noinline minsize optsize nounwind { ; %m1.f\n  ret i1 false\n}",
    );
  });

  describe("the counting of a value", () => {
    const retain = (value: string, of: string): string => `${value} = call ptr @sc_retain__x25_m1_Index(ptr ${of})`;
    const release = (value: string): string => `call void @sc_release__x25_m1_Index(ptr ${value})`;
    const read = (value: string, of: string): readonly string[] => [
      `${value}0 = getelementptr inbounds %sc_o__x25_m1_Index, ptr ${of}, i64 0, i32 2`,
      `${value}1 = load double, ptr ${value}0`,
    ];

    it("is removed while a field is read", () => {
      expect(shrunk(retain("%t2", "%t1"), ...read("%t3", "%t2"), release("%t2"))).toEqual([...read("%t3", "%t1")]);
      const bytes = "%t2 = call ptr @scr_bytes_retain_v(ptr %t1)";
      expect(shrunk(bytes, ...read("%t3", "%t2"), "call void @scr_bytes_release(ptr %t2)")).toEqual([
        ...read("%t3", "%t1"),
      ]);
    });

    it("is removed for a pair inside another pair, and kept for a value that is retained for longer", () => {
      const kept = retain("%t4", "%t31");
      const block = [retain("%t2", "%t1"), ...read("%t3", "%t2"), kept, release("%t2"), "ret void"];
      expect(shrunk(...block)).toEqual([...read("%t3", "%t1"), kept, "ret void"]);
      const nested = [
        retain("%t2", "%t1"),
        retain("%t3", "%t2"),
        ...read("%t4", "%t3"),
        release("%t3"),
        release("%t2"),
      ];
      expect(shrunk(...nested)).toEqual([...read("%t4", "%t1")]);
    });

    it("is removed while functions of the runtime read it, whatever it is", () => {
      const length = "%t3 = call double @scr_arr_len(ptr %t2)";
      const retains = [
        "scr_str_retain_v",
        "scr_arr_retain_v",
        "scr_union_retain_v",
        "sc_rretain_r12",
        "scr_closure_retain_v",
      ];
      for (const name of retains) {
        const block = [`%t2 = call ptr @${name}(ptr %t1)`, length, RELEASE];
        expect(shrunk(...block)).toEqual([length.replace("%t2", "%t1")]);
      }
      expect(shrunk(RETAIN, "%t3 = call zeroext i1 @scr_str_eq(ptr %t2, ptr %t8)", RELEASE)).toEqual([
        "%t3 = call zeroext i1 @scr_str_eq(ptr %t1, ptr %t8)",
      ]);
    });

    it("is kept wherever something could be freed in between, or the count matters", () => {
      const between = [
        "call void @f()",
        release("%t9"),
        "%t9 = call double @g(double %t8)",
        "%t9 = call ptr @scr_str_concat(ptr %t2, ptr %t8)",
        "call void @scr_arr_push_ref(ptr %t2, ptr %t8)",
        "br label %j1",
        "j1:",
      ];
      for (const line of between) {
        const block = [retain("%t2", "%t1"), ...read("%t3", "%t2"), line, release("%t2")];
        expect(shrunk(...block)).toEqual(block);
      }
    });
  });

  describe("the release of what a variable held", () => {
    const assign = (value: string): string => `store ptr ${value}, ptr %v`;
    const release = ["%t3 = load ptr, ptr %v", "call void @scr_str_release(ptr %t3)"] as const;

    it("is removed where it was null", () => {
      const block = withVariable(assign("null"), "call void @f()", ...release, assign("%t9"));
      expect(shrunk(...block)).toEqual(block.filter((line) => line !== release[1]));
    });

    it("is kept where it may hold a value", () => {
      const blocks = [
        withVariable(assign("null"), assign("%t9"), ...release),
        withVariable(assign("null"), "br label %j1", "j1:", ...release),
        withVariable(...release, assign("null")),
        ["%v = getelementptr inbounds %o, ptr %t1, i64 0, i32 2", assign("null"), ...release],
      ];
      for (const block of blocks) expect(shrunk(...block)).toEqual(block);
    });
  });

  it("converts the index of a typed array to a signed integer where it is known to be in range", () => {
    const check = [
      "%t2 = getelementptr inbounds %ScrBytes, ptr %t1, i64 0, i32 1",
      "%t3 = load i64, ptr %t2",
      "%t4 = uitofp i64 %t3 to double",
      "br i1 %t5, label %bytes.index.range4, label %bytes.index.invalid5",
    ];
    const use = ["%t6 = fptoui double %t0 to i64", "%t7 = uitofp i64 %t6 to double"];
    const label = "bytes.index.range4:";
    const code = (...lines: string[]): string =>
      ["define internal void @f() #0 {", ...lines.map((line) => (line === label ? line : `  ${line}`)), "}"].join("\n");
    const left = shrink(code(...check, label, ...use));
    expect(left).toContain("%t4 = sitofp i64 %t3 to double");
    expect(left).toContain("%t6 = fptosi double %t0 to i64");
    expect(left).toContain("%t7 = sitofp i64 %t6 to double");
    /* An index that is not checked, and a field of something else: they may have any value. */
    const others = code(
      ...use,
      "%t8 = getelementptr inbounds %ScrArr, ptr %t1, i64 0, i32 1",
      "%t9 = load i64, ptr %t8",
      "%t10 = uitofp i64 %t9 to double",
    );
    expect(shrink(others).split("\n").slice(1)).toEqual(others.split("\n").slice(1));
  });

  it("turns variables that are set once, to a literal, into constants", () => {
    const variable = "@sc_g_m1_FAMILY = internal global double 0x0000000000000000 ; FAMILY";
    const store = "  store double 0x4000000000000000, ptr @sc_g_m1_FAMILY";
    const load = "  %t1 = load double, ptr @sc_g_m1_FAMILY";
    const code = (...lines: string[]): string => [variable, "define void @f() #0 {", ...lines, "}"].join("\n");
    const left = shrink(code(store, load)).split("\n");
    expect(left[0]).toBe("@sc_g_m1_FAMILY = internal constant double 0x4000000000000000");
    expect(left.slice(2)).toEqual([load, "}"]);
    const variables = [
      code(store, store, load),
      code(store, load, "  store double %t0, ptr @sc_g_m1_FAMILY"),
      code(store, load, "  call void @g(ptr @sc_g_m1_FAMILY)"),
      code(load),
    ];
    for (const one of variables) expect(shrink(one).split("\n")[0]).toBe(variable);
    for (const one of variables.slice(0, 3)) expect(shrink(one)).toContain(store);
  });

  it("removes the counting of literals that are never freed, and keeps that of others", () => {
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
