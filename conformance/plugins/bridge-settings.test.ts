/**
 * Settings that new links inherit (net.ipv4.conf.default, net.ipv6.conf.default), each with a value that somebody may have
 * chosen for other links: pods work all the same.
 */
import { describe, expect, test } from "vitest";
import { expectError, expectSuccess, type Netns } from "../../testbed/harness.ts";
import { BRIDGE, withLab } from "./bridge-lab.ts";

const CONFIG = { isDefaultGateway: true };
const FIRST = { lease: { ips: [{ address: "10.77.0.5/24" }, { address: "fd77::5/64" }] } };
const SECOND = { lease: { ips: [{ address: "10.77.0.6/24" }, { address: "fd77::6/64" }] } };

/** On the host: what its bridge inherits. */
const HOST: readonly (readonly ["ipv4" | "ipv6", string, number])[] = [
  ["ipv4", "forwarding", 0],
  ["ipv4", "arp_ignore", 8],
  ["ipv4", "arp_ignore", 2],
  ["ipv4", "arp_filter", 1],
  ["ipv4", "arp_announce", 2],
  ["ipv4", "rp_filter", 1],
  ["ipv4", "accept_local", 1],
  ["ipv4", "route_localnet", 1],
  ["ipv4", "proxy_arp", 1],
  ["ipv4", "proxy_arp_pvlan", 1],
  ["ipv4", "drop_gratuitous_arp", 1],
  ["ipv4", "drop_unicast_in_l2_multicast", 1],
  ["ipv4", "medium_id", -1],
  ["ipv4", "disable_policy", 1],
  ["ipv6", "forwarding", 0],
  ["ipv6", "disable_ipv6", 1],
  ["ipv6", "accept_ra", 2],
  ["ipv6", "accept_dad", 2],
  ["ipv6", "addr_gen_mode", 1],
  ["ipv6", "use_tempaddr", 2],
  ["ipv6", "proxy_ndp", 1],
  ["ipv6", "drop_unsolicited_na", 1],
  ["ipv6", "dad_transmits", 10],
  ["ipv6", "max_addresses", 1],
];

/** In the pod's namespace: what its link inherits. */
const POD: typeof HOST = [
  ["ipv4", "rp_filter", 1],
  ["ipv4", "arp_ignore", 2],
  ["ipv4", "arp_filter", 1],
  ["ipv4", "proxy_arp", 1],
  ["ipv6", "disable_ipv6", 1],
  ["ipv6", "forwarding", 1],
  ["ipv6", "accept_ra", 2],
  ["ipv6", "accept_dad", 2],
  ["ipv6", "addr_gen_mode", 1],
  ["ipv6", "addr_gen_mode", 3],
  ["ipv6", "keep_addr_on_down", 0],
  ["ipv6", "use_tempaddr", 2],
];

const set = (netns: Netns, path: string, value: number | string) =>
  netns.exec("sh", ["-c", `[ ! -e /proc/sys/net/${path} ] || echo ${value} > /proc/sys/net/${path}`]);

/** Another host, which the node reaches by a link of its own. */
async function outside(host: Netns, other: Netns): Promise<void> {
  await set(host, "ipv4/ip_forward", 1);
  await set(host, "ipv6/conf/all/forwarding", 1);
  await host.ip("link", "add", "up0", "type", "veth", "peer", "name", "eth0", "netns", other.name);
  for (const [netns, link, last] of [
    [host, "up0", 1],
    [other, "eth0", 2],
  ] as const) {
    /* While its own link's address is tried out, the kernel asks for no neighbour on behalf of others. */
    await set(netns, `ipv6/conf/${link}/accept_dad`, 0);
    await netns.ip("address", "add", `192.0.2.${last}/24`, "dev", link);
    await netns.ip("address", "add", `2001:db8::${last}/64`, "dev", link, "nodad");
    await netns.ip("link", "set", link, "up");
  }
  await other.ip("route", "add", "default", "via", "192.0.2.1");
  await other.ip("-6", "route", "add", "default", "via", "2001:db8::1");
}

async function works(host: readonly (readonly [string, string])[], inside: readonly (readonly [string, string])[]) {
  await withLab(async (lab) => {
    const [first, second, other] = [await lab.pod(), await lab.pod(), await lab.pod()];
    await outside(lab.host, other);
    for (const [path, value] of host) await set(lab.host, path, value);
    for (const [path, value] of inside) for (const pod of [first, second]) await set(pod, path, value);
    const result = await lab.add(first, CONFIG, FIRST);
    await lab.add(second, CONFIG, SECOND);
    expectSuccess(await lab.check(first, result, CONFIG));
    const reached = async (from: Netns, to: string) => expect([to, await from.ping(to)]).toEqual([to, true]);
    for (const to of ["10.77.0.1", "10.77.0.6", "192.0.2.2", "fd77::1", "fd77::6", "2001:db8::2"]) {
      await reached(first, to);
    }
    await reached(other, "10.77.0.5");
    await reached(other, "fd77::5");
  });
}

describe("a hostile default", () => {
  test.each(HOST)("of the host: %s %s=%d", (family, key, value) =>
    works([[`${family}/conf/default/${key}`, `${value}`]], []),
  );

  test.each(POD)("of the pod: %s %s=%d", (family, key, value) =>
    works([], [[`${family}/conf/default/${key}`, `${value}`]]),
  );
});

test.each([
  ["forwarding", 0],
  ["arp_ignore", 8],
])("CHECK names a bridge that does not serve IPv4 (%s=%d), and the next ADD mends it", (key, value) =>
  withLab(async (lab) => {
    const [first, second] = [await lab.pod(), await lab.pod()];
    const result = await lab.add(first, CONFIG, FIRST);
    await set(lab.host, `ipv4/conf/${BRIDGE}/${key}`, value);
    expectError(await lab.check(first, result, CONFIG), { code: 101, msg: /^pwt0 does not serve IPv4: / });
    await lab.add(second, CONFIG, SECOND);
    expectSuccess(await lab.check(first, result, CONFIG));
  }),
);
