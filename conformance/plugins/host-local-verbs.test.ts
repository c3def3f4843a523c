/** DEL, CHECK, GC and STATUS of host-local as a user sees them. */
import { mkdir, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { expectError, expectSuccess, versionsFrom } from "../../testbed/harness.ts";
import { type Network, smallRange, withNetwork } from "./host-local-harness.ts";

const SUBNET = { subnet: "10.9.0.0/24" };

describe("DEL", () => {
  it("removes only what the attachment holds, and succeeds for an unknown one", async () => {
    await withNetwork(SUBNET, async (network) => {
      await network.add("c1");
      await network.add("c1", { ifname: "net1" });
      await network.add("c2");
      await network.del("c1");
      expect(await network.addresses()).toEqual(["10.9.0.3", "10.9.0.4"]);
      await network.del("c1");
      await network.del("unknown");
      expect(Object.keys(await network.records())).toHaveLength(2);
    });
  });

  it.each([
    ["broken", { ranges: [[{ subnet: "nonsense" }]] }],
    ["changed", { subnet: "172.16.0.0/24" }],
    ["missing", {}],
    ["of a wrong type", { ranges: 7, routes: "x" }],
  ])("needs no ranges: they may be %s", async (_name, ipam) => {
    await withNetwork(SUBNET, async (network) => {
      await network.add("c1");
      await network.del("c1", { ipam });
      expect(await network.addresses()).toEqual([]);
      expect(await network.records()).toEqual({});
    });
  });

  it("creates no directories, and neither do CHECK, STATUS and GC", async () => {
    await withNetwork(SUBNET, async (network) => {
      await network.del("c1");
      expectError(await network.call("CHECK", "c1", { more: { prevResult: { cniVersion: "1.1.0" } } }), { code: 101 });
      expectSuccess(await network.call("STATUS", "c1"));
      expectSuccess(await network.call("GC", "c1", { more: { "cni.dev/valid-attachments": [] } }));
      await expect(stat(network.dataDir)).rejects.toThrow();
    });
  });
});

describe.each(versionsFrom("0.4.0"))("CHECK at CNI %s", (cniVersion) => {
  const prevResult = (address: string) => ({
    cniVersion,
    ips: [{ ...(cniVersion < "1.0.0" ? { version: "4" } : {}), address: `${address}/24` }],
  });
  it("compares the leases with the record and the previous result", async () => {
    await withNetwork(SUBNET, async (network) => {
      const address = await network.addOne("c1");
      const other = await network.addOne("c2");
      const check = (id: string, more: Record<string, unknown>) => network.call("CHECK", id, { cniVersion, more });
      expectSuccess(await check("c1", { prevResult: prevResult(address) }));
      expectSuccess(await check("c1", {}));
      const msg = "host-local: Failed to find address added by container ID c1";
      const wrong = await check("c1", { prevResult: prevResult(other) });
      expectError(wrong, { code: 101, msg, details: /10\.9\.0\.3: expected its lease .* container c2 \(eth0\)/ });
      expectError(await check("c9", {}), { code: 101, details: /it has no lease/ });
      await writeFile(join(network.leases, address), "c2\r\neth0");
      expectError(await check("c1", { prevResult: prevResult(address) }), { code: 101, msg });
    });
  });
});

describe("GC", () => {
  it("keeps the valid attachments, and removes nothing without a list of them", async () => {
    await withNetwork(SUBNET, async (network) => {
      for (const id of ["c1", "c2", "c3"]) await network.add(id);
      await network.add("c1", { ifname: "net1" });
      expectSuccess(await network.call("GC", "x"));
      expect(await network.addresses()).toHaveLength(4);
      const valid = [
        { containerID: "c1", ifname: "net1" },
        { containerID: "c3", ifname: "eth0" },
      ];
      const result = await network.call("GC", "x", { more: { "cni.dev/valid-attachments": valid } });
      expect(result.stdout).toBe("");
      expectSuccess(result);
      expect(await network.addresses()).toEqual(["10.9.0.4", "10.9.0.5"]);
      expect(Object.keys(await network.records())).toHaveLength(2);
    });
  });

  it("keeps a lease that names no interface while its container is valid", async () => {
    await withNetwork(SUBNET, async (network) => {
      await network.add("c1");
      await network.writeLease("10.9.0.20", "old1");
      await network.writeLease("10.9.0.21", "old2\n");
      const more = { "cni.dev/valid-attachments": [{ containerID: "old1", ifname: "eth5" }] };
      expectSuccess(await network.call("GC", "x", { more, ipam: { ranges: "broken" } }));
      expect(await network.addresses()).toEqual(["10.9.0.20"]);
    });
  });
});

describe("STATUS", () => {
  const strict = (network: Network) => ({ ipam: { ...network.ipam, statusFailsWhenExhausted: true } });

  it("warns that a range set is exhausted, with the counts", async () => {
    await withNetwork(smallRange(4), async (network) => {
      expectSuccess(await network.call("STATUS", "x"));
      for (const id of ["c1", "c2", "c3"]) {
        expect(await network.call("STATUS", "x", strict(network))).toMatchObject({ exitCode: 0, stderr: "" });
        await network.add(id);
      }
      const msg = "no IP addresses available in range set: 10.9.0.2-10.9.0.4";
      expectError(await network.call("STATUS", "x", strict(network)), {
        code: 50,
        msg,
        details: /^used 3 of 3, reclaimable 0\./,
      });
      const told = await network.call("STATUS", "x");
      expect(told).toMatchObject({ exitCode: 0, stdout: "" });
      expect(told.stderr).toContain(`host-local: ${msg}: ADD fails until one is released; used 3 of 3`);
      await network.changeRecord("c2", { boot: "another" });
      expectSuccess(await network.call("STATUS", "x", strict(network)));
      await network.changeRecord("c2", { boot: "another" });
      await network.del("c1");
      expect(await network.call("STATUS", "x")).toMatchObject({ exitCode: 0, stderr: "" });
      expectError(await network.call("STATUS", "x", { ipam: { ...network.ipam, statusFailsWhenExhausted: "yes" } }), {
        code: 7,
        msg: /statusFailsWhenExhausted/,
      });
    });
  });

  it("fails if the data directory cannot be written", async () => {
    await withNetwork(SUBNET, async (network) => {
      await writeFile(join(network.directory, "file"), "");
      const under = (dataDir: string) => ({ ...SUBNET, dataDir });
      const file = await network.call("STATUS", "x", { ipam: under(join(network.directory, "file/below")) });
      expectError(file, { code: 50, msg: /cannot be written: .*file/ });
      expectError(await network.call("STATUS", "x", { ipam: under("/proc/sys/x") }), { code: 50 });
      await mkdir(join(network.directory, "fine"));
      expectSuccess(await network.call("STATUS", "x", { ipam: under(join(network.directory, "fine/deep/er")) }));
    });
  });
});
