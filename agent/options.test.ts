import { describe, expect, it } from "vitest";
import { readCommand } from "./options.ts";

describe("the command line", () => {
  it("has a command", () => {
    for (const word of ["version", "--version", "-v"]) expect(readCommand([word])).toBe("version");
    for (const word of ["help", "--help", "-h"]) expect(readCommand([word])).toBe("help");
  });

  it("has nothing else", () => {
    expect(() => readCommand([])).toThrow("there is no command");
    expect(() => readCommand(["watch"])).toThrow('unknown argument "watch"');
    expect(() => readCommand(["version", "now"])).toThrow('unexpected argument "now"');
  });
});
