import { describe, expect, test } from "vitest";
import { CniError } from "../errors.ts";
import { readArgs } from "./args.ts";

function failure(text: string): string {
  try {
    readArgs(text, ["IP", "MAC"]);
  } catch (error) {
    if (error instanceof CniError) return `${error.code} ${error.message}`;
    throw error;
  }
  return "no error";
}

describe("CNI_ARGS", () => {
  test("known keys, exactly as written", () => {
    expect([...readArgs("", ["IP"])]).toEqual([]);
    expect([...readArgs("IP=10.0.0.5", ["IP"])]).toEqual([["IP", "10.0.0.5"]]);
    expect([...readArgs("IP=a;IP=b", ["IP"])]).toEqual([["IP", "b"]]);
    expect([...readArgs("IP=", ["IP"])]).toEqual([["IP", ""]]);
    expect([...readArgs("K8S_POD_NAME=x;IgnoreUnknown=1;MAC=a:b", ["MAC"])]).toEqual([["MAC", "a:b"]]);
  });

  test.each(["1", "true", "TRUE", "True", "tRuE"])("IgnoreUnknown=%s, wherever it stands", (word) => {
    expect(failure(`X=1;IgnoreUnknown=${word}`)).toBe("no error");
    expect(failure(`IgnoreUnknown=${word};X=1`)).toBe("no error");
  });

  test.each([
    ["A", 'invalid pair "A"'],
    ["IP=1;", 'invalid pair ""'],
    [";", 'invalid pair ""'],
    ["IP=1;;MAC=2", 'invalid pair ""'],
    ["IP=1=2", 'invalid pair "IP=1=2"'],
    ["IgnoreUnknown=1;X", 'invalid pair "X"'],
    ["X=1", 'unknown args ["X=1"]'],
    ["X=1;IP=2;Y=2", 'unknown args ["X=1" "Y=2"]'],
    ["mac=1", 'unknown args ["mac=1"]'],
    ["X=1;IgnoreUnknown=0", 'unknown args ["X=1"]'],
    ["X=1;ignoreunknown=1", 'unknown args ["X=1" "ignoreunknown=1"]'],
    ["IgnoreUnknown=yes", "boolean unmarshal error: invalid input yes"],
    ["IgnoreUnknown=", "boolean unmarshal error: invalid input "],
  ])("%s is refused", (text, message) => {
    expect(failure(text)).toContain("4 ARGS: ");
    expect(failure(text)).toContain(message);
  });
});
