/** VLANs. Where the kernel cannot filter them on a bridge, what is left to test is that this is said and nothing remains. */
import { beforeAll, describe, expect, type TestContext, test } from "vitest";
import { expectError, expectSuccess, type JsonObject, Netns } from "../../testbed/harness.ts";
import { BRIDGE, hostEnd, leftovers, linkOf, NOTHING, withLab } from "./bridge-lab.ts";

let filtering = false;

beforeAll(async () => {
  const namespace = await Netns.create("vlan");
  try {
    await namespace.ip("link", "add", "probe", "type", "bridge", "vlan_filtering", "1");
    filtering = true;
  } catch {
    filtering = false;
  } finally {
    await namespace.remove();
  }
});

const LEASE = { lease: { ips: [{ address: "10.77.0.5/24", gateway: "10.77.0.1" }] } };

describe("a kernel that cannot filter", () => {
  const needed = (ctx: TestContext) => {
    if (filtering) ctx.skip("this kernel can filter VLANs on a bridge");
  };

  test.for([
    ["vlan", { vlan: 100 }],
    ["vlanTrunk", { vlanTrunk: [{ id: 101 }] }],
    ["an empty vlanTrunk", { vlanTrunk: [] }],
    ["both", { vlan: 100, vlanTrunk: [{ minID: 200, maxID: 210 }], preserveDefaultVlan: true }],
  ] as const)("%s: a clear error, nothing left, and STATUS had said so", ([_name, extra], ctx) => {
    needed(ctx);
    return withLab(async (lab) => {
      const pod = await lab.pod();
      const error = { msg: /cannot filter VLANs/, details: /CONFIG_BRIDGE_VLAN_FILTERING/ };
      expectError(await lab.run("ADD", pod, extra, LEASE), { code: 100, ...error });
      expect(await leftovers(lab, pod)).toEqual(NOTHING);
      /* On a bridge that is there already, too. */
      await lab.add(await lab.pod());
      expectError(await lab.run("ADD", pod, extra, LEASE), { code: 100, ...error });
      expect(await pod.links()).toEqual(["lo"]);
      expectError(await lab.run("STATUS", pod, extra), { code: 50, ...error });
      await lab.del(pod, extra);
    });
  });

  test("vlan 0 means none", (ctx) => {
    needed(ctx);
    return withLab(async (lab) => {
      const pod = await lab.pod();
      const result = await lab.add(pod, { vlan: 0 }, LEASE);
      expectSuccess(await lab.check(pod, result, { vlan: 0 }));
    });
  });
});

/** "200", "201", ... */
function ids(first: number, last: number): string[] {
  return Array.from({ length: last - first + 1 }, (_, i) => `${first + i}`);
}

describe("a kernel that can filter", () => {
  const needed = (ctx: TestContext) => {
    if (!filtering) ctx.skip("this kernel cannot filter VLANs on a bridge (CONFIG_BRIDGE_VLAN_FILTERING)");
  };
  /** The VLANs of a port, one by one: "100 PVID Egress Untagged". */
  const vlansOf = async (host: Netns, port: string): Promise<string[]> => {
    const found = JSON.parse(await host.exec("bridge", ["-j", "vlan", "show", "dev", port])) as JsonObject[];
    return ((found[0]?.vlans ?? []) as JsonObject[]).flatMap((entry) => {
      const [first, last] = [Number(entry.vlan), Number(entry.vlanEnd ?? entry.vlan)];
      return ids(first, last).map((id) => [id, ...((entry.flags ?? []) as string[])].join(" "));
    });
  };

  test.for([
    ["an access VLAN", { vlan: 100 }, ["100 PVID Egress Untagged"]],
    [
      "a trunk",
      { vlanTrunk: [{ id: 101 }, { minID: 200, maxID: 210 }] },
      ["1 PVID Egress Untagged", "101", ...ids(200, 210)],
    ],
    ["both", { vlan: 100, vlanTrunk: [{ minID: 200, maxID: 210 }] }, ["100 PVID Egress Untagged", ...ids(200, 210)]],
    [
      "the default VLAN kept",
      { vlan: 100, preserveDefaultVlan: true },
      ["1 Egress Untagged", "100 PVID Egress Untagged"],
    ],
  ] as const)("%s", ([_name, extra, expected], ctx) => {
    needed(ctx);
    return withLab(async (lab) => {
      const pod = await lab.pod();
      const result = await lab.add(pod, extra, LEASE);
      expect(await vlansOf(lab.host, hostEnd(result))).toEqual(expected);
      expectSuccess(await lab.check(pod, result, extra));
      await lab.host.exec("bridge", ["vlan", "add", "dev", hostEnd(result), "vid", "999"]);
      if (!("preserveDefaultVlan" in extra)) {
        expectError(await lab.check(pod, result, extra), { code: 101, msg: /is in VLAN 999 too/ });
      }
      await lab.host.exec("bridge", ["vlan", "del", "dev", hostEnd(result), "vid", "999"]);
      await lab.del(pod, extra);
      expect(await leftovers(lab, pod)).toEqual(NOTHING);
    });
  });

  test("the gateway of a VLAN is a link of its own, made once, and CHECK knows it", (ctx) => {
    needed(ctx);
    return withLab(async (lab) => {
      const extra = { vlan: 100, isGateway: true };
      const [a, b] = [await lab.pod(), await lab.pod()];
      const result = await lab.add(a, extra, LEASE);
      await lab.add(b, extra, { lease: { ips: [{ address: "10.77.0.6/24", gateway: "10.77.0.1" }] } });
      const gateway = (result.interfaces as JsonObject[])[3];
      expect(gateway).toMatchObject({ name: `${BRIDGE}.100` });
      expect(await linkOf(lab.host, `${BRIDGE}.100`)).toMatchObject({ address: gateway?.mac });
      expect(await a.ping("10.77.0.1")).toBe(true);
      expect(await a.ping("10.77.0.6")).toBe(true);
      expectSuccess(await lab.check(a, result, extra));
      /* It is no attachment, whatever the network is called. */
      expectSuccess(await lab.run("GC", a, { name: "gateway", "cni.dev/valid-attachments": [] }));
      expectSuccess(await lab.check(a, result, extra));
    });
  });
});
