/** The tables of docs/kubernetes.md and docs/from-flannel.md say what the programs do. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { readSettings } from "../agent/settings.ts";
import { CniError } from "../lib/errors.ts";
import { DISTRIBUTIONS } from "./source/distributions.ts";

const repository = join(import.meta.dirname, "..");
const page = await readFile(join(repository, "docs/kubernetes.md"), "utf8");
const flannel = await readFile(join(repository, "docs/from-flannel.md"), "utf8");

const CIDRS = { clusterCIDRs: ["10.244.0.0/16"] };
const read = (settings: object) => readSettings(new TextEncoder().encode(JSON.stringify(settings)), "network.json");

/** The rows below a heading, as cells. */
function rows(text: string, heading: string): string[][] {
  const [, section = ""] = text.split(`\n${heading}\n`);
  const [table = ""] = section.split(/\n#+ /);
  return [...table.matchAll(/^\| (.*) \|$/gm)].map(([, row = ""]) => row.split(" | "));
}

/** `name`, `other` as a list. */
function quoted(cell: string): string[] {
  return [...cell.matchAll(/`([^`]*)`/g)].map(([, text = ""]) => text);
}

describe("settings", () => {
  const given = rows(page, "## Settings").flatMap(([names = "", values = ""]) =>
    quoted(names).map((name, at): [string, string | undefined] => [name, quoted(values)[at]]),
  );
  const settings = given.filter(([name]) => !name.startsWith("PODWIRE_"));

  test("are all that there are", () => {
    try {
      read({ ...CIDRS, x: 1 });
      throw new Error("a setting x was taken");
    } catch (error) {
      if (!(error instanceof CniError)) throw error;
      const known = error.message.replace(/^.*there are /, "").split(", ");
      expect(settings.map(([name]) => name).sort()).toEqual(known.sort());
    }
  });

  test.each(settings.filter(([, value]) => value !== undefined))("%s is %s by default", (name, value) => {
    expect(read({ ...CIDRS, [name]: JSON.parse(value ?? "") })).toEqual(read(CIDRS));
  });
});

test("every folder of kustomize's is in a page, and every folder in the table exists", () => {
  const names = DISTRIBUTIONS.map(({ name }) => name);
  for (const name of names)
    expect(`${page}${flannel}`).toContain(name === "from-flannel" ? `kustomize/${name}` : `\`${name}\``);
  for (const [, folder = ""] of rows(page, "### Other distributions")) {
    for (const name of quoted(folder)) expect([...names, "base"]).toContain(name);
  }
});

test("messages that the pages explain are those of the programs", async () => {
  const sources = await Promise.all(
    ["agent/sync.ts", "agent/settings.ts", "agent/peers-text.ts", "lib/install/files.ts", "lib/overlay/device.ts"].map(
      (path) => readFile(join(repository, path), "utf8"),
    ),
  );
  const text = sources.join("\n");
  for (const message of [
    "the API server has not told of all nodes yet",
    "has no podCIDRs",
    "is in none of the settings' clusterCIDRs",
    "exists and was not written by podwire-install",
    "which has no tunnels",
    "runs flannel with VNI",
    "this network has",
  ]) {
    expect(text).toContain(message);
    expect(`${page}${flannel}`).toContain(message);
  }
});
