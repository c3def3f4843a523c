import { describe, expect, test } from "vitest";
import { modulesInOrder } from "./guest.ts";
import { type Column, cell, type Outcome, reasons, table } from "./table.ts";

const outcome = (suite: string, state: Outcome["state"], note = "", name = "a"): Outcome => {
  return { suite, test: name, state, note };
};

describe("the table", () => {
  const columns: Column[] = [
    {
      ...{ release: "old", version: "6.1", seconds: 61 },
      outcomes: [outcome("x", "passed"), outcome("x", "failed", "no\nmore"), outcome("y", "skipped", "no z")],
    },
    {
      release: "new",
      version: "7.2",
      seconds: 125,
      outcomes: [outcome("y", "passed"), outcome("y", "skipped", "no z")],
    },
  ];

  test("a row for each suite, a column for each kernel, a dash for what did not run", () => {
    expect(table(columns, ["x", "y"])).toEqual([
      "| suite | 6.1 (old) | 7.2 (new) |",
      "| --- | --- | --- |",
      "| x | **1 failed**, 1 passed | — |",
      "| y | 1 skipped | 1 passed, 1 skipped |",
      "| **all** | **1 failed**, 1 passed, 1 skipped | 1 passed, 1 skipped |",
      "| time | 1 min | 2 min |",
    ]);
    expect(cell([])).toBe("—");
  });

  test("reasons are told once, with the kernels that they hold for", () => {
    expect(reasons(columns, "skipped")).toEqual(["2 in old, new: y: no z"]);
    expect(reasons(columns, "failed")).toEqual(["1 in old: x: a: no"]);
  });
});

describe("modules.dep", () => {
  const listing = [
    "kernel/fs/9p/9p.ko.xz: kernel/net/9p/9pnet.ko.xz kernel/fs/netfs/netfs.ko.xz",
    "kernel/net/9p/9pnet.ko.xz:",
    "kernel/net/9p/9pnet_virtio.ko.xz: kernel/net/9p/9pnet.ko.xz",
    "kernel/fs/netfs/netfs.ko.xz:",
  ].join("\n");

  test("what a module needs comes before it, once; what is not listed is built in", () => {
    expect(modulesInOrder(listing, ["virtio_pci", "9pnet_virtio", "9p"])).toEqual([
      ...["kernel/net/9p/9pnet.ko.xz", "kernel/net/9p/9pnet_virtio.ko.xz"],
      ...["kernel/fs/netfs/netfs.ko.xz", "kernel/fs/9p/9p.ko.xz"],
    ]);
  });

  test("a name is a whole name", () => {
    expect(modulesInOrder(listing, ["p", "9pnet"])).toEqual(["kernel/net/9p/9pnet.ko.xz"]);
  });
});
