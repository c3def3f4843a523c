import { describe, expect, test } from "vitest";
import { CniError } from "../errors.ts";
import { EAGAIN, EMFILE, ENOENT, ENOSPC, SystemError } from "../sys/errno.ts";
import { formatJson } from "./json.ts";
import { asCniError, encodeError } from "./run.ts";

describe("failures as error objects", () => {
  test("an error of ours stays what it is", () => {
    const error = new CniError(103, "no address", "none");
    expect(asCniError(error)).toBe(error);
  });

  test.each([
    [EAGAIN, 11, "open x: resource temporarily unavailable"],
    [EMFILE, 11, "open x: too many open files"],
    [ENOENT, 5, "open x: no such file or directory"],
    [ENOSPC, 5, "open x: no space left on device"],
    [999, 5, "open x: error 999"],
  ])("a system call that fails with %d: code %d", (errno, code, message) => {
    expect(asCniError(new SystemError(errno, "open x"))).toMatchObject({ code, message });
  });

  test("what a person can do about it is told where there is something", () => {
    expect(asCniError(new SystemError(ENOSPC, "open x")).details).toMatch(/df -i/);
    expect(asCniError(new SystemError(ENOENT, "open x")).details).toBe("");
  });

  test("anything else is a defect: code 999", () => {
    expect(asCniError(new TypeError("x is undefined"))).toMatchObject({
      code: 999,
      message: "internal error: x is undefined",
    });
  });

  test("the object has cniVersion first, and details only if there are any", () => {
    expect(formatJson(encodeError(new CniError(7, 'a "b"\n', ""), "1.0.0"))).toBe(
      JSON.stringify({ cniVersion: "1.0.0", code: 7, msg: 'a "b"\n' }, null, 4),
    );
    expect(JSON.parse(formatJson(encodeError(new CniError(7, "a", "d"), "0.1.0")))).toEqual({
      cniVersion: "0.1.0",
      code: 7,
      msg: "a",
      details: "d",
    });
  });
});
