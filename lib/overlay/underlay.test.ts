/** Which address and link the overlay stands on, and which peers share a way. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { CniError } from "../errors.ts";
import { type Address, contains, formatAddress, type Prefix, parseAddress, parsePrefix } from "../ip/address.ts";
import type { TunnelRoute } from "../netlink/entries/entry.ts";
import { EntryTable } from "../netlink/entries/table.ts";
import type { Link } from "../netlink/link.ts";
import { FOREIGN } from "./ownership.ts";
import type { Peer } from "./peer.ts";
import { PeerTable } from "./peer-table.ts";
import { vtepMac } from "./peers.ts";
import { chooseUnderlay, type NodeNetwork, sameRoutes } from "./underlay.ts";

const address = (text: string): Address => parseAddress(text) as Address;
const prefix = (text: string): Prefix => parsePrefix(text) as Prefix;
const peer = (text: string): Peer => {
  const nodeIp = address(text);
  return { place: text, nodeIp, podCidrs: [], mac: vtepMac(nodeIp), ownMac: false };
};
const route = (text: string): TunnelRoute => ({
  dst: prefix(text),
  link: 2,
  protocol: 2,
  priority: 0,
  gateway: null,
  onlink: false,
  tunnel: null,
});

const NODE: NodeNetwork = {
  addresses: [
    { link: 1, prefix: prefix("127.0.0.1/8") },
    { link: 2, prefix: prefix("fe80::1/64") },
    { link: 2, prefix: prefix("2001:db8::5/64") },
    { link: 2, prefix: prefix("192.0.2.5/24") },
    { link: 3, prefix: prefix("198.51.100.5/24") },
    { link: 4, prefix: prefix("fe80::2/64") },
    { link: 5, prefix: prefix("fd31::5/64") },
  ],
  named: null,
  listed: [],
  path: null,
  defaultLink: 0,
};

function chosen(configured: string, around: Partial<NodeNetwork>): string {
  const found = chooseUnderlay(configured, { ...NODE, ...around });
  return `${formatAddress(found.address)} on ${found.link}`;
}

function refusal(configured: string, around: Partial<NodeNetwork>): CniError {
  try {
    chosen(configured, around);
  } catch (error) {
    if (error instanceof CniError) return error;
    throw error;
  }
  throw new Error("nothing was refused");
}

describe("the underlay", () => {
  const link = (index: number) => ({ index }) as Link;
  const path = { link: 3, source: address("198.51.100.5"), gateway: null, mtu: 0, local: false };

  test("is what the configuration names, an address or a link, whose IPv4 address comes first", () => {
    const others = { listed: [address("198.51.100.5")], path, defaultLink: 3 };
    expect(chosen("2001:db8::5", others)).toBe("2001:db8::5 on 2");
    expect(chosen("eth0", { ...others, named: link(2) })).toBe("192.0.2.5 on 2");
    expect(chosen("eth3", { ...others, named: link(5) })).toBe("fd31::5 on 5");
  });

  test("is this node's own record, else the way to the first peer, else the default route's link", () => {
    expect(chosen("", { listed: [address("fd31::5")], path, defaultLink: 2 })).toBe("fd31::5 on 5");
    expect(chosen("", { path, defaultLink: 2 })).toBe("198.51.100.5 on 3");
    expect(chosen("", { defaultLink: 2 })).toBe("192.0.2.5 on 2");
  });

  test("that is named but not there is the configuration's fault", () => {
    expect(refusal("192.0.2.77", {})).toMatchObject({ code: 7, message: expect.stringContaining("192.0.2.77") });
    expect(refusal("eth9", {})).toMatchObject({ code: 7, message: expect.stringContaining("no link eth9") });
    expect(refusal("eth2", { named: link(4) })).toMatchObject({ message: expect.stringContaining("no address") });
  });

  test("that nothing tells is said to be so", () => {
    expect(refusal("", { defaultLink: 4 })).toMatchObject({
      code: 100,
      details: expect.stringContaining('"underlay"'),
    });
  });
});

/** Which peers share routes that are not the overlay's. */
function shared(peers: readonly Peer[], routes: readonly TunnelRoute[], ownRow = -1): number[] {
  const table = EntryTable.of(routes.map((one) => ({ kind: "route", route: one })));
  routes.forEach((_, row) => {
    table.setMark(row, FOREIGN);
  });
  return [...sameRoutes(PeerTable.of(peers), table, ownRow)];
}

describe("peers behind one route", () => {
  test("are those that the longest prefix puts together", () => {
    const routes = [route("0.0.0.0/0"), route("192.0.2.0/24"), route("192.0.2.128/25"), route("::/0")];
    const peers = ["192.0.2.1", "203.0.113.1", "192.0.2.200", "192.0.2.2", "203.0.113.2", "fd31::1", "192.0.2.201"];
    expect(shared(peers.map(peer), routes)).toEqual([0, 1, 2, 0, 1, 5, 2]);
    expect(shared(peers.map(peer), routes, 0)).toEqual([0, 1, 2, 3, 1, 5, 2]);
  });

  test("are asked for one by one where there are many routes", () => {
    const routes = Array.from({ length: 65 }, (_, i) => route(`10.${i}.0.0/16`));
    expect(shared([peer("10.0.0.1"), peer("10.0.0.2")], routes)).toEqual([0, 1]);
  });

  test("share the route that a search over all of them finds", () => {
    const dst = fc.tuple(fc.integer({ min: 0, max: 7 }), fc.integer({ min: 0, max: 32 }));
    const nodes = fc.array(fc.integer({ min: 0, max: 2047 }), { minLength: 1, maxLength: 20 });
    fc.assert(
      fc.property(fc.array(dst, { maxLength: 12 }), nodes, (dsts, numbers) => {
        const routes = dsts.map(([third, length]) => route(`10.0.${third}.0/${length}`));
        const peers = numbers.map((number) => peer(`10.0.${number >> 8}.${number & 255}`));
        const best = peers.map(({ nodeIp }) => {
          const lengths = routes.filter((one) => contains(one.dst, nodeIp)).map((one) => one.dst.length);
          return routes.findIndex((one) => one.dst.length === Math.max(...lengths) && contains(one.dst, nodeIp));
        });
        expect(shared(peers, routes)).toEqual(best.map((index) => best.indexOf(index)));
      }),
    );
  });
});
