import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { CniError } from "../errors.ts";
import { isValidName, readRequest, validateInterfaceName } from "./environment.ts";

type Variables = Record<string, string>;
const COMPLETE: Variables = {
  CNI_COMMAND: "ADD",
  CNI_CONTAINERID: "abc",
  CNI_NETNS: "/run/netns/x",
  CNI_IFNAME: "eth0",
  CNI_PATH: "/opt/cni/bin:/usr/lib/cni",
};

const reader = (variables: Variables) => (name: string) => variables[name] ?? "";

function failure(variables: Variables): string {
  try {
    readRequest(reader(variables));
  } catch (error) {
    if (error instanceof CniError) return `${error.code} ${error.message}`;
    throw error;
  }
  return "no error";
}

describe("the request", () => {
  test("is read in full", () => {
    expect(readRequest(reader({ ...COMPLETE, CNI_ARGS: "A=1", CNI_NETNS_OVERRIDE: "TRUE" }))).toEqual({
      command: "ADD",
      containerId: "abc",
      netns: "/run/netns/x",
      ifname: "eth0",
      args: "A=1",
      path: ["/opt/cni/bin", "/usr/lib/cni"],
      netnsOverride: true,
    });
  });

  test.each([
    ["1", true],
    ["true", true],
    ["tRuE", true],
    ["0", false],
    ["yes", false],
    ["", false],
  ])("CNI_NETNS_OVERRIDE=%s", (value, expected) => {
    expect(readRequest(reader({ ...COMPLETE, CNI_NETNS_OVERRIDE: value })).netnsOverride).toBe(expected);
  });

  test.each([
    ["ADD", ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"]],
    ["CHECK", ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"]],
    ["DEL", ["CNI_CONTAINERID", "CNI_IFNAME", "CNI_PATH"]],
    ["GC", ["CNI_PATH"]],
    ["STATUS", ["CNI_PATH"]],
    ["VERSION", []],
    ["NONSENSE", []],
    ["add", []],
  ])("%s requires %j, and all that are missing are reported", (command, required) => {
    const names = ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"];
    for (let set = 0; set < 16; set += 1) {
      const present = names.filter((_name, i) => (set & (1 << i)) !== 0);
      const variables: Variables = { CNI_COMMAND: command };
      for (const name of present) variables[name] = COMPLETE[name] ?? "";
      const missing = required.filter((name) => !present.includes(name));
      const expected = missing.length === 0 ? "no error" : `4 required env variables [${missing.join(",")}] missing`;
      expect(failure(variables)).toBe(expected);
    }
  });

  test("a malformed variable is reported before any missing one", () => {
    expect(failure({ CNI_COMMAND: "ADD", CNI_IFNAME: "a/b" })).toMatch(/^4 interface name contains/);
    expect(failure({ CNI_COMMAND: "ADD", CNI_CONTAINERID: "a/b", CNI_IFNAME: "a/b" })).toBe(
      "4 invalid characters in containerID",
    );
    expect(failure({ CNI_COMMAND: "STATUS", CNI_CONTAINERID: "a/b", CNI_IFNAME: "a/b", CNI_PATH: "/x" })).toBe(
      "no error",
    );
  });
});

test("a malformed variable is named in the details", () => {
  const details = (variables: Variables): string => {
    try {
      readRequest(reader({ ...COMPLETE, ...variables }));
    } catch (error) {
      if (error instanceof CniError) return error.details;
    }
    return "no error";
  };
  expect(details({ CNI_CONTAINERID: "a/b" })).toBe("wrong variable CNI_CONTAINERID: a/b");
  expect(details({ CNI_IFNAME: ".." })).toBe("wrong variable CNI_IFNAME");
  expect(details({ CNI_IFNAME: "x".repeat(16) })).toMatch(/^wrong variable CNI_IFNAME: .*16 characters$/);
});

describe("names", () => {
  test("a container ID that is too long is told from one with wrong characters", () => {
    expect(failure({ ...COMPLETE, CNI_CONTAINERID: "x".repeat(200) })).toBe("no error");
    expect(failure({ ...COMPLETE, CNI_CONTAINERID: "x".repeat(201) })).toBe("4 containerID is too long");
    expect(failure({ ...COMPLETE, CNI_CONTAINERID: "é" })).toBe("4 invalid characters in containerID");
  });

  test("container IDs and network names: the specification's pattern, at most 200 characters", () => {
    const alphabet = fc.constantFrom(..."aZ09_.-/ :\u00e9\u0161\u212a\u0000".split(""));
    fc.assert(
      fc.property(
        fc.array(alphabet, { maxLength: 8 }).map((list) => list.join("")),
        (text) => {
          expect(isValidName(text)).toBe(/^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/.test(text));
        },
      ),
      { numRuns: 2000 },
    );
    fc.assert(
      fc.property(
        fc.string({ unit: "binary" }),
        (text) => isValidName(text) === /^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/.test(text),
      ),
    );
    expect(isValidName("a".repeat(200))).toBe(true);
    expect(isValidName("a".repeat(201))).toBe(false);
  });

  test.each(["eth0", "a", "123456789012345", "net1.100", "ö", "...", "a-b_c@d", '"'])("interface name %j", (name) => {
    expect(() => validateInterfaceName(name)).not.toThrow();
  });

  test.each([
    ["1234567890123456", "interface name is too long"],
    ["ööööööö1\u00e9", "interface name is too long"],
    [".", "interface name is . or .."],
    ["..", "interface name is . or .."],
    ...["a/b", "a:b", "a b", "a\tb", "\n", "a\u00a0", "a\u2003b", "\u3000", "a\u0001"].map((name) => [
      name,
      "interface name contains / or : or whitespace characters",
    ]),
  ])("interface name %j is refused: %s", (name, message) => {
    expect(() => validateInterfaceName(name)).toThrow(message);
  });
});
