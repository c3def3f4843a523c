/** ptp beside the reference's: the same tables, and a node that changes its plugins while pods run. */
import { describe, expect, type TestContext, test } from "vitest";
import { expectSuccess, type JsonObject, type Netns } from "../../testbed/harness.ts";
import { referenceOf } from "../protocol/fixtures.ts";
import { addressesOf, type Lab, leftovers, NOTHING, routesOf, withLab } from "./bridge-lab.ts";

const LEASE = {
  ips: [
    { address: "10.77.0.5/24", gateway: "10.77.0.1" },
    { address: "fd77::5/64", gateway: "fd77::1" },
  ],
  /* With gateways: the reference's CHECK misses a route without one, also its own. */
  routes: [
    { dst: "0.0.0.0/0", gw: "10.77.0.1" },
    { dst: "::/0", gw: "fd77::1" },
    { dst: "192.0.2.0/24", gw: "10.77.0.1" },
  ],
};

const CONFIG = { type: "ptp", bridge: undefined, cniVersion: "1.0.0" };

function withReference(ctx: TestContext, run: (lab: Lab, pod: Netns, theirs: string) => Promise<void>): Promise<void> {
  const reference = referenceOf("ptp");
  if (reference === null) ctx.skip("the reference suite is not installed");
  return withLab(async (lab) => run(lab, await lab.pod(), reference ?? ""));
}

/** What programs look for on both ends, without the links' names and what marks a route's origin. */
async function tables(lab: Lab, pod: Netns, result: JsonObject): Promise<unknown> {
  const [outside] = result.interfaces as JsonObject[];
  const routes = async (namespace: Netns) => {
    const all = [...(await routesOf(namespace, 4)), ...(await routesOf(namespace, 6))];
    return all
      .filter(({ dst }) => dst !== "fe80::/64")
      .map(({ dst, gateway, prefsrc, scope, metric }) => ({ dst, gateway, prefsrc, scope, metric }))
      .map((route) => JSON.stringify(route))
      .sort();
  };
  return {
    inside: [await addressesOf(pod, "eth0"), await routes(pod)],
    outside: [await addressesOf(lab.host, String(outside?.name)), await routes(lab.host)],
    /* Debian's prints an empty `dns`. */
    result: {
      dns: {},
      ...result,
      interfaces: (result.interfaces as JsonObject[]).map(({ sandbox }) => sandbox ?? "host"),
    },
  };
}

describe("as the reference", () => {
  test("addresses and routes of both ends, and the result", (ctx) =>
    withReference(ctx, async (lab, pod, theirs) => {
      const other = await lab.pod();
      const ours = expectSuccess(await lab.run("ADD", pod, CONFIG, { plugin: "ptp", lease: LEASE }));
      const oursTables = await tables(lab, pod, ours);
      expectSuccess(await lab.run("DEL", pod, CONFIG, { plugin: "ptp" }));
      const reference = expectSuccess(await lab.run("ADD", other, CONFIG, { plugin: theirs, lease: LEASE }));
      const same = JSON.parse(JSON.stringify(oursTables).replaceAll(pod.name, other.name)) as unknown;
      expect(same).toEqual(await tables(lab, other, reference));
    }));

  test("added by the reference, checked and deleted by Podwire", (ctx) =>
    withReference(ctx, async (lab, pod, theirs) => {
      const config = { ...CONFIG, ipMasq: true };
      const result = expectSuccess(await lab.run("ADD", pod, config, { plugin: theirs, lease: LEASE }));
      expectSuccess(await lab.check(pod, result, CONFIG, { plugin: "ptp" }));
      await lab.del(pod, { ...config, prevResult: result }, { plugin: "ptp" });
      expect(await leftovers(lab, pod)).toEqual(NOTHING);
      expect(await lab.host.exec("iptables-save", ["-t", "nat"])).not.toContain(pod.name);
    }));

  test("added by Podwire, checked and deleted by the reference", (ctx) =>
    withReference(ctx, async (lab, pod, theirs) => {
      const result = expectSuccess(await lab.run("ADD", pod, CONFIG, { plugin: "ptp", lease: LEASE }));
      expectSuccess(await lab.check(pod, result, CONFIG, { plugin: theirs }));
      await lab.del(pod, CONFIG, { plugin: theirs });
      expect(await leftovers(lab, pod)).toEqual(NOTHING);
    }));
});
