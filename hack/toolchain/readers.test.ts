import { describe, expect, it } from "vitest";
import { readersIn, withReaders } from "./readers.ts";

const retain = (value: string, of: string): string => `  ${value} = call ptr @sc_retain__x25_m1_Table(ptr ${of})`;
const release = (value: string): string => `  call void @sc_release__x25_m1_Table(ptr ${value})`;

/** A function as scriptc writes it: its parameter is put into a variable, and released at the end. */
function functionOf(name: string, block: readonly string[], result = "double 0x0000000000000000"): string[] {
  const [type = ""] = result.split(" ");
  return [
    `define internal ${type} @${name}(ptr %p_sc_l_this_0, double %p_sc_l_row_0) #0 { ; ${name}`,
    "entry:",
    "  %sc_l_this_0 = alloca ptr ; this",
    "  store ptr %p_sc_l_this_0, ptr %sc_l_this_0",
    "  %t0 = load ptr, ptr %sc_l_this_0",
    ...block,
    "  %t99 = load ptr, ptr %sc_l_this_0",
    release("%t99"),
    `  ret ${result}`,
    "}",
  ];
}

/** Reads a field of its parameter, as `table.count` is. */
const COUNT = functionOf("sc_f_count", [
  retain("%t1", "%t0"),
  "  %t2 = getelementptr inbounds %sc_o_Table, ptr %t1, i64 0, i32 2",
  "  %t3 = load double, ptr %t2",
  release("%t1"),
]);
const CALL = "  %t8 = call double @sc_f_count(ptr %t7, double 0x0000000000000000)";

const namesOf = (...functions: readonly (readonly string[])[]): string[] => [...readersIn(functions.flat()).keys()];
const rewritten = (...functions: readonly (readonly string[])[]): string[] => {
  const lines = functions.flat();
  return withReaders(lines, readersIn(lines)).slice(functions.slice(0, -1).flat().length - removedFrom(functions));
};
/** By how many lines the functions before the last one have become shorter. */
function removedFrom(functions: readonly (readonly string[])[]): number {
  const before = functions.slice(0, -1).flat();
  return before.length - withReaders(before, readersIn(functions.flat())).length;
}

describe("a reader", () => {
  it("counts nothing", () => {
    const lines = withReaders(COUNT, readersIn(COUNT));
    expect(lines.join("\n")).not.toMatch(/retain|release/);
    expect(lines).toContain("  %t2 = getelementptr inbounds %sc_o_Table, ptr %t0, i64 0, i32 2");
  });

  it("may call readers, itself too, and write numbers", () => {
    const half = functionOf("sc_f_half", [
      retain("%t7", "%t0"),
      CALL,
      retain("%t5", "%t0"),
      "  %t6 = call double @sc_f_half(ptr %t5, double %t8)",
      "  store double %t6, ptr @sc_g_last",
    ]);
    expect(namesOf(COUNT, half)).toEqual(["sc_f_count", "sc_f_half"]);
    expect(rewritten(COUNT, half)).toContain("  %t8 = call double @sc_f_count(ptr %t0, double 0x0000000000000000)");
  });

  it.each([
    ["stores a reference in an object", ["  store ptr %t0, ptr %t1"]],
    ["makes an object", ["  %t1 = call ptr @sc_new__x25_m1_Table()"]],
    ["calls what is not known", ["  call void @scr_arr_push_ref(ptr %t0, ptr null)"]],
    ["calls by an address", ["  %t1 = call double %t4(ptr %t0)"]],
    ["takes its own address", ["  %t1 = ptrtoint ptr @sc_f_other to i64"]],
    ["calls a function that is none", ["  %t1 = call double @sc_f_keeps(ptr %t0, double 0x0000000000000000)"]],
  ])("is none that %s", (_, block) => {
    const keeps = functionOf("sc_f_keeps", ["  store ptr %t0, ptr @sc_g_kept"]);
    expect(namesOf(keeps, functionOf("sc_f_other", block))).toEqual([]);
  });

  it("is none that returns a reference, or keeps its parameter", () => {
    expect(namesOf(functionOf("sc_f_same", [retain("%t1", "%t0")], "ptr %t1"))).toEqual([]);
    expect(namesOf(COUNT.filter((line) => line !== release("%t99")))).toEqual([]);
  });

  it("is none that somebody has the address of", () => {
    const table = "@sc_methods = constant [1 x ptr] [ptr @sc_f_count]";
    expect(namesOf([table], COUNT)).toEqual([]);
    const handed = functionOf("sc_f_hands", ["  %t1 = call ptr @scr_closure_new(ptr @sc_f_count)"], "ptr %t1");
    expect(namesOf(COUNT, handed)).toEqual([]);
  });
});

describe("the caller of a reader", () => {
  const caller = (...block: string[]): string[] =>
    rewritten(COUNT, functionOf("sc_f_caller", ["  call void @sc_f_unknown()", ...block])).slice(6, -4);

  it("does not retain what it has", () => {
    expect(caller(retain("%t7", "%t0"), CALL)).toEqual([CALL.replace("%t7", "%t0")]);
  });

  it("retains and releases what something before the call could free", () => {
    const between = "  call void @sc_f_unknown()";
    expect(caller(retain("%t7", "%t0"), between, CALL)).toEqual([retain("%t7", "%t0"), between, CALL, release("%t7")]);
  });

  it("retains and releases what comes from an object that is released before the call", () => {
    const block = [
      "  %t5 = call ptr @sc_f_make()",
      "  %t6 = load ptr, ptr %t5",
      retain("%t7", "%t6"),
      release("%t5"),
      CALL,
    ];
    expect(caller(...block)).toEqual([...block, release("%t7")]);
  });

  it("releases an object that was made for the call", () => {
    const made = "  %t7 = call ptr @sc_f_make()";
    expect(caller(made, CALL)).toEqual([made, CALL, release("%t7")]);
  });

  it("retains what another block has retained", () => {
    const block = [retain("%t7", "%t0"), "  br label %next", "next:", CALL];
    expect(caller(...block)).toEqual([...block, release("%t7")]);
  });

  it("leaves literals alone", () => {
    const call = "  %t8 = call double @sc_f_count(ptr @sc_lit_1, double 0x0000000000000000)";
    expect(caller(call)).toEqual([call]);
  });

  it("passes a value twice", () => {
    const both = [
      ...functionOf("sc_f_both", []).map((line) =>
        line
          .replace("double %p_sc_l_row_0", "ptr %p_sc_l_other_0")
          .replace("%t0 = load ptr, ptr %sc_l_this_0", "%sc_l_other_0 = alloca ptr ; other"),
      ),
    ];
    both.splice(5, 0, "  store ptr %p_sc_l_other_0, ptr %sc_l_other_0", "  %t98 = load ptr, ptr %sc_l_other_0");
    both.splice(7, 0, release("%t98"));
    expect(namesOf(both)).toEqual(["sc_f_both"]);
    const block = [retain("%t5", "%t0"), retain("%t6", "%t0"), "  %t8 = call double @sc_f_both(ptr %t5, ptr %t6)"];
    const lines = rewritten(both, functionOf("sc_f_caller", ["  call void @sc_f_unknown()", ...block])).slice(6, -4);
    expect(lines).toEqual(["  %t8 = call double @sc_f_both(ptr %t0, ptr %t0)"]);
  });
});
