/** A node that changes its plugins while pods run: what one suite added, the other checks and deletes. */
import { describe, expect, type TestContext, test } from "vitest";
import { expectError, expectSuccess, type JsonObject, type Netns } from "../../testbed/harness.ts";
import { referenceOf } from "../protocol/fixtures.ts";
import { BRIDGE, type Lab, leftovers, NOTHING, withLab } from "./bridge-lab.ts";

const reference = referenceOf("bridge");

const CASES: readonly (readonly [string, JsonObject, JsonObject])[] = [
  ["plain", {}, { ips: [{ address: "10.77.0.5/24", gateway: "10.77.0.1" }] }],
  [
    "a gateway of both families, an MTU, hairpin, routes",
    { isDefaultGateway: true, mtu: 1400, hairpinMode: true },
    {
      ips: [
        { address: "10.77.0.5/24", gateway: "10.77.0.1" },
        { address: "fd77::5/64", gateway: "fd77::1" },
      ],
      /* With gateways: the reference's CHECK misses a route without one, also its own. */
      routes: [
        { dst: "192.0.2.0/24", gw: "10.77.0.1" },
        { dst: "2001:db8::/32", gw: "fd77::9" },
      ],
    },
  ],
];

/** The stub's answer in the version's shape. */
function leaseOf(lease: JsonObject, cniVersion: string): JsonObject {
  if (cniVersion >= "1.0.0") return lease;
  const ips = (lease.ips as JsonObject[]).map((ip) => ({
    version: String(ip.address).includes(":") ? "6" : "4",
    ...ip,
  }));
  return { ...lease, ips };
}

/** Runs with the reference's executable as one side; skips where it is not installed. */
function withReference(ctx: TestContext, run: (lab: Lab, pod: Netns, theirs: string) => Promise<void>): Promise<void> {
  if (reference === null) ctx.skip("the reference suite is not installed");
  return withLab(async (lab) => run(lab, await lab.pod(), reference ?? ""));
}

describe.each(["0.4.0", "1.0.0"])("version %s", (cniVersion) => {
  describe.each(CASES)("%s", (_name, extra, lease) => {
    const config = { cniVersion, ...extra };
    const options = { lease: leaseOf(lease, cniVersion) };

    test("added by the reference, checked and deleted by Podwire", (ctx) =>
      withReference(ctx, async (lab, pod, theirs) => {
        const result = await lab.add(pod, config, { ...options, plugin: theirs });
        expectSuccess(await lab.check(pod, result, config));
        await pod.ip("link", "set", "eth0", "down");
        expectError(await lab.check(pod, result, config), {
          code: 101,
          msg: /eth0|default|0\.0\.0\.0|192\.0\.2|10\.77|veth/,
        });
        await lab.del(pod, config);
        expect(await leftovers(lab, pod)).toEqual(NOTHING);
      }));

    test("added by Podwire, checked and deleted by the reference", (ctx) =>
      withReference(ctx, async (lab, pod, theirs) => {
        const result = await lab.add(pod, config, options);
        expectSuccess(await lab.check(pod, result, config, { plugin: theirs }));
        await lab.del(pod, { ...config, prevResult: result }, { plugin: theirs });
        expect(await leftovers(lab, pod)).toEqual(NOTHING);
        await lab.del(pod, config);
      }));

    test("both on one bridge", (ctx) =>
      withReference(ctx, async (lab, pod, theirs) => {
        const other = await lab.pod();
        const second = {
          ips: (lease.ips as JsonObject[]).map((ip) => ({ ...ip, address: String(ip.address).replace("5/", "6/") })),
        };
        await lab.add(pod, config, { ...options, plugin: theirs });
        const result = await lab.add(other, config, { lease: leaseOf(second, cniVersion) });
        expect(await other.ping("10.77.0.5")).toBe(true);
        expectSuccess(
          await lab.run("GC", other, {
            ...config,
            cniVersion: "1.1.0",
            "cni.dev/valid-attachments": [{ containerID: other.name, ifname: "eth0" }],
          }),
        );
        expect(await pod.links()).toEqual(["eth0", "lo"]);
        expectSuccess(await lab.check(other, result, config));
        await lab.del(pod, config);
        expect((await lab.host.query("link", "show", "master", BRIDGE)).length).toBe(1);
      }));
  });
});
