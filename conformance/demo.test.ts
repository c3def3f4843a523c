/** The demos come to their end, and leave the machine as it was. */
import { join } from "node:path";
import { execa } from "execa";
import { describe, expect, test } from "vitest";
import { binDirectory, patience, repository } from "../testbed/harness.ts";

/** Runs a demo with the plugins under test; returns what it printed. */
async function run(script: string): Promise<string> {
  const { all, exitCode } = await execa(process.execPath, [join(repository, "hack", script), binDirectory], {
    all: true,
    reject: false,
    stdin: "ignore",
  });
  expect(exitCode, all).toBe(0);
  return all;
}

describe("make", () => {
  test("demo", async () => {
    const shown = await run("demo.ts");
    expect(shown).toContain("blue sees who it is");
    expect(shown).toMatch(/Your machine: no link, address, route or namespace has come of this. Done.$/);
  });

  test("demo-overlay", async () => {
    const shown = await run("demo-overlay.ts");
    expect(shown).toMatch(/\|\s+node1\s+\|.*\|\s+node5\s+\|/);
    for (const line of [
      "pod-2 sees 10.244.1.2",
      "pod-1 sees 10.244.4.2",
      "pod-1 sees fd44:0:0:4::2",
      "outside sees 172.31.0.1",
      "outside sees fd31:0:0:1::4",
      "pod-5 sees 10.244.1.2",
      "vxlan-overlay: /run/podwire-demo/peers.ndjson line",
    ]) {
      expect(shown).toContain(`    ${line}`);
    }
    expect(shown).toMatch(/Your machine: no link, address, route or namespace has come of this. Done.$/);
  });

  test("demo-cluster", { timeout: 150_000 * patience }, async () => {
    const shown = await run("demo-cluster.ts");
    for (const line of [
      /^ {4}node4 is ready after \d+\.\d s: /m,
      /^ {4}pod-5 on node5: 10\.244\.5\.2, fd44:0:0:5::2$/m,
      /^ {2}ok: after \d+ ms nobody has a route to it/m,
      /warning put back what was missing: .*the device overlay1 was deleted/,
      /^ {4}the agent does not run$/m,
      /\d\d packets transmitted/,
      /VmRSS:\s+\d+ kB/,
      /info the agent ends; the network stays as it is$/m,
    ]) {
      expect(shown).toMatch(line);
    }
    expect(shown).toMatch(/Your machine: no link, address, route or namespace has come of this. Done.$/);
  });
});
