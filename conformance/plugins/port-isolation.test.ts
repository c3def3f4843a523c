/** bridge with portIsolation: pods that are to reach the gateway and what is behind it, but not each other. */
import { describe, expect, test } from "vitest";
import { expectError, expectSuccess, type JsonObject } from "../../testbed/harness.ts";
import { remains } from "./node-filter.ts";
import { addressOf, type Family, type Mapping, type Node, type Pod, withNode } from "./portmap-lab.ts";
import { BRIEFLY } from "./traffic.ts";

const MAPPINGS: Mapping[] = [{ hostPort: 8080, containerPort: 80 }];
const FAMILIES: readonly Family[] = [4, 6];

interface Scene {
  readonly node: Node;
  readonly first: Pod;
  readonly second: Pod;
  readonly open: Pod;
}

/** Two pods of which each is isolated if `bridge` says so, the second with a published port, and one that is not. */
async function withScene(bridge: JsonObject, run: (scene: Scene) => Promise<void>): Promise<void> {
  await withNode({}, async (node) => {
    const first = await node.pod({ portmap: null, label: "first", bridge });
    const second = await node.pod({ mappings: MAPPINGS, label: "second", bridge });
    const open = await node.pod({ portmap: null, label: "open" });
    await run({ node, first, second, open });
  });
}

const own = (pod: Pod, family: Family) => (family === 4 ? pod.v4 : pod.v6);

/** Lets a pod reach another by way of the node, as anyone who may set routes inside can. */
async function routeByGateway(pod: Pod, other: Pod): Promise<void> {
  for (const family of FAMILIES) {
    const length = family === 4 ? 32 : 128;
    const gateway = addressOf("gateway", family);
    await pod.netns.ip(`-${family}`, "route", "add", `${own(other, family)}/${length}`, "via", gateway);
  }
}

describe.each(FAMILIES)("IPv%s", (family) => {
  test("isolated pods reach each other neither directly nor by way of the gateway", () =>
    withScene({ portIsolation: true }, async ({ node, first, second }) => {
      for (const protocol of ["tcp", "udp"] as const) {
        expect(await node.ask(first.netns, own(second, family), 80, protocol, BRIEFLY)).not.toContain("saw");
      }
      await routeByGateway(first, second);
      await routeByGateway(second, first);
      for (const protocol of ["tcp", "udp", "sctp"] as const) {
        expect(await node.ask(first.netns, own(second, family), 80, protocol, BRIEFLY)).not.toContain("saw");
      }
      expect(await first.netns.ping(own(second, family), 2)).toBe(false);
    }));

  test("without isolation that way is open", () =>
    withScene({}, async ({ node, first, second }) => {
      await routeByGateway(first, second);
      expect(await node.ask(first.netns, own(second, family), 80)).toBe(`second saw ${own(first, family)}`);
    }));

  test("the gateway, the world, pods that are not isolated and published ports stay within reach", () =>
    withScene({ portIsolation: true }, async ({ node, first, second, open }) => {
      expect(await first.netns.ping(addressOf("gateway", family))).toBe(true);
      await node.traffic.serveAll(node.client, "client", 80);
      const ask = (pod: Pod, address: string, port = 80) => node.ask(pod.netns, address, port);
      expect(await ask(first, addressOf("client", family))).toBe(`client saw ${own(first, family)}`);
      expect(await ask(first, own(open, family))).toBe(`open saw ${own(first, family)}`);
      expect(await ask(open, own(first, family))).toBe(`first saw ${own(open, family)}`);
      await routeByGateway(open, second);
      expect(await ask(open, own(second, family))).toBe(`second saw ${own(open, family)}`);
      expect(await node.ask(node.client, addressOf("node", family), 8080)).toMatch(/^second saw/);
    }));
});

test("CHECK misses it by name, repair puts it back after a flush, DEL leaves nothing", () =>
  withScene({ portIsolation: true }, async ({ node, first, second }) => {
    const config = node.bridgeConfig({ portIsolation: true, prevResult: first.bridged });
    expectSuccess(await node.call("bridge", "CHECK", first, config));
    await node.nft("flush", "set", "inet", "podwire", "isolated4");
    expectError(await node.call("bridge", "CHECK", first, config), { code: 101, msg: /isolated4/ });
    await routeByGateway(first, second);
    await node.nft("flush", "ruleset");
    expectSuccess(await node.repair());
    for (const family of FAMILIES) {
      expect(await node.ask(first.netns, own(second, family), 80, "tcp", BRIEFLY)).not.toContain("saw");
    }
    expectSuccess(await node.call("bridge", "CHECK", first, config));
    await node.removePod(first, null, { portmap: null });
    await node.removePod(second, MAPPINGS);
    expect(await remains(node)).toEqual([]);
  }));
