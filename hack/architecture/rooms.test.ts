/** ARCHITECTURE.md says what uses what; this holds it. */
import { readFile } from "node:fs/promises";
import { dirname } from "node:path";
import { expect, test } from "vitest";
import { allSources, circlesIn, productSources } from "./graph.ts";
import { PICTURE, picture } from "./picture.ts";
import { mayUse, roomOf } from "./rooms.ts";

/** What the kernel's and netlink's headers call their numbers. */
const KERNEL_NUMBER =
  /^(RTM|NLM|NLMSG|IFLA|IFA|RTA|RTN|NDA|TCA|NFT|NFTA|NFNL|NFNETLINK|NETLINK|CTA|BRIDGE|VXLAN|ETHTOOL)_/;

const product = await productSources();

test("every file is in a room, and uses only its own room and those below", () => {
  const wrong: string[] = [];
  for (const { file, imports } of product) {
    const room = roomOf(file);
    if (room === null) wrong.push(`${file} is in no room`);
    for (const { file: other } of imports) {
      const used = roomOf(other);
      if (room !== null && (used === null || !mayUse(room, used))) wrong.push(`${file} uses ${other}`);
    }
  }
  expect(wrong).toEqual([]);
});

test("no files use each other in a circle", () => {
  expect(circlesIn(product)).toEqual([]);
});

test("the kernel's numbers are in lib/netlink alone", () => {
  const wrong: string[] = [];
  for (const { file, constants } of product) {
    if (file.startsWith("lib/netlink/")) continue;
    for (const name of constants) if (KERNEL_NUMBER.test(name)) wrong.push(`${file}: ${name}`);
  }
  expect(wrong).toEqual([]);
});

test("a layout of words is known to its own folder alone", () => {
  const wrong: string[] = [];
  for (const { file, imports } of product) {
    for (const { file: other } of imports) {
      if (other.endsWith("/layout.ts") && dirname(other) !== dirname(file)) wrong.push(`${file} uses ${other}`);
    }
  }
  expect(wrong).toEqual([]);
});

test("functions, classes and constants that are exported are used by another file", async () => {
  const used = new Set<string>();
  const whole = new Set<string>();
  for (const { imports } of await allSources()) {
    for (const { file, names } of imports) {
      for (const name of names) {
        if (name === "*") whole.add(file);
        else used.add(`${file}: ${name}`);
      }
    }
  }
  const unused: string[] = [];
  for (const { file, exports } of product) {
    if (whole.has(file)) continue;
    for (const name of exports) if (!used.has(`${file}: ${name}`)) unused.push(`${file}: ${name}`);
  }
  expect(unused).toEqual([]);
});

test("the picture shows the rooms as they are", async () => {
  expect(await readFile(PICTURE, "utf8"), "node hack/architecture/picture.ts draws it again").toBe(picture());
});
