/** ptp: what it makes on both ends, what it refuses, and what is left after a failure. */
import { describe, expect, test } from "vitest";
import { expectError, expectSuccess, type JsonObject, type Netns, versionsFrom } from "../../testbed/harness.ts";
import { addressesOf, type LabOptions, leftovers, linkOf, NOTHING, routesOf, withLab } from "./bridge-lab.ts";
import { add, check, DUAL, del, hostEnd, LEASE6, run } from "./ptp-lab.ts";

/** "default via 10.77.0.1 src 10.77.0.5 scope link" for each route, without the links' names. */
async function routes(namespace: Netns, family: 4 | 6): Promise<string[]> {
  const all = await routesOf(namespace, family);
  return all.map(({ dst, gateway, prefsrc, scope, flags }) => {
    const words = [String(dst)];
    if (gateway !== undefined) words.push(`via ${gateway}`);
    if (prefsrc !== undefined) words.push(`src ${prefsrc}`);
    if (scope !== undefined && scope !== "global") words.push(`scope ${scope}`);
    for (const flag of (flags ?? []) as string[]) if (flag === "onlink") words.push(flag);
    return words.join(" ");
  });
}

const setting = async (namespace: Netns, path: string): Promise<string> =>
  (await namespace.exec("cat", [`/proc/sys/net/${path}`])).trim();

describe("ADD", () => {
  test("both ends, both families: what is on the links and in the tables [PLUG-1]", () =>
    withLab(async (lab) => {
      const pod = await lab.pod();
      const result = await add(lab, pod);
      const outside = await linkOf(lab.host, hostEnd(result));
      const inside = await linkOf(pod, "eth0");
      expect(result).toEqual({
        cniVersion: "1.1.0",
        interfaces: [
          { name: outside.ifname, mac: outside.address, mtu: 1500 },
          { name: "eth0", mac: inside.address, mtu: 1500, sandbox: pod.path },
        ],
        ips: DUAL.ips.map((ip) => ({ ...ip, interface: 1 })),
        routes: DUAL.routes,
      });
      expect(outside.ifname).toMatch(/^veth/);
      expect(await addressesOf(pod, "eth0")).toEqual(["10.77.0.5/24", "fd77::5/64"]);
      expect(await addressesOf(lab.host, hostEnd(result))).toEqual(["10.77.0.1/32", "fd77::1/128"]);
      expect(await routes(pod, 4)).toEqual([
        "default via 10.77.0.1",
        "10.77.0.0/24 via 10.77.0.1 src 10.77.0.5",
        "10.77.0.1 src 10.77.0.5 scope link",
      ]);
      expect((await routes(pod, 6)).sort()).toEqual([
        "default via fd77::1",
        "fd77::/64 via fd77::1 src fd77::5",
        "fd77::1 src fd77::5",
      ]);
      expect(await routes(lab.host, 4)).toEqual(["10.77.0.5 scope host"]);
      expect(await routes(lab.host, 6)).toEqual(["fd77::5"]);
      for (const [namespace, link] of [[lab.host, hostEnd(result)] as const, [pod, "eth0"] as const]) {
        expect(await setting(namespace, `ipv6/conf/${link}/accept_ra`)).toBe("0");
      }
      expect(await setting(lab.host, "ipv4/ip_forward")).toBe("1");
      expect(await setting(lab.host, "ipv6/conf/all/forwarding")).toBe("1");
      expect(outside.operstate).toBe("UP");
      expect(inside.operstate).toBe("UP");
    }));

  test("mtu is that of both ends, and the configuration's dns replaces IPAM's", () =>
    withLab(async (lab) => {
      const [pod, other] = [await lab.pod(), await lab.pod()];
      const lease = { ...DUAL, dns: { nameservers: ["10.0.0.53"] } };
      const result = await add(lab, pod, { mtu: 1400 }, { lease });
      expect(result.interfaces).toMatchObject([{ mtu: 1400 }, { mtu: 1400 }]);
      expect(await linkOf(lab.host, hostEnd(result))).toMatchObject({ mtu: 1400 });
      expect(await linkOf(pod, "eth0")).toMatchObject({ mtu: 1400 });
      expect(result.dns).toEqual({ nameservers: ["10.0.0.53"] });
      const second = { ips: [{ address: "10.77.0.6/24" }], dns: { nameservers: ["10.0.0.53"] } };
      const own = { domain: "example.net" };
      expect((await add(lab, other, { dns: own }, { lease: second })).dns).toEqual(own);
    }));

  test.each([
    ["no gateway", ["10.77.0.5/24"], ["10.77.0.0/24 via 169.254.1.1 src 10.77.0.5"], "169.254.1.1"],
    ["a single address", ["10.77.0.5/32"], [], "169.254.1.1"],
    ["a network of two", ["10.77.0.4/31"], ["10.77.0.4/31 via 169.254.1.1 src 10.77.0.4"], "169.254.1.1"],
    ["a single address and a gateway", ["10.77.0.5/32 192.0.2.1"], [], "192.0.2.1"],
    [
      "two addresses of a network",
      ["10.77.0.5/24 10.77.0.1", "10.77.0.6/24 10.77.0.1"],
      ["10.77.0.0/24 via 10.77.0.1 src 10.77.0.5"],
      "10.77.0.1",
    ],
  ])("%s: the pod and the host reach each other", (_name, addresses, networks, gateway) =>
    withLab(async (lab) => {
      const pod = await lab.pod();
      const ips = addresses.map((text) => {
        const [address, via] = text.split(" ");
        return via === undefined ? { address } : { address, gateway: via };
      });
      const result = await add(lab, pod, {}, { lease: { ips, routes: [{ dst: "0.0.0.0/0" }] } });
      expect((result.ips as JsonObject[]).every((ip) => ip.gateway === gateway)).toBe(true);
      const [first = ""] = addresses.map((text) => text.split("/")[0] ?? "");
      expect(await routes(pod, 4)).toEqual(
        [
          `default via ${gateway}${gateway === "10.77.0.1" ? "" : " onlink"}`,
          ...networks,
          `${gateway} src ${first} scope link`,
        ].sort((a, b) => rank(a) - rank(b) || (a < b ? -1 : 1)),
      );
      expect(await pod.ping(gateway)).toBe(true);
      for (const text of addresses) expect(await lab.host.ping(text.split("/")[0] ?? "")).toBe(true);
      expectSuccess(await check(lab, pod, result));
    }),
  );

  test("no IPv6 gateway either: fe80::1 is the host", () =>
    withLab(async (lab) => {
      const [pod, other] = [await lab.pod(), await lab.pod()];
      const lease = (address: string) => ({ ips: [{ address }], routes: [{ dst: "::/0" }] });
      const result = await add(lab, pod, {}, { lease: lease("fd77::5/64") });
      await add(lab, other, {}, { lease: lease("fd77::6/128") });
      expect(result.ips).toMatchObject([{ gateway: "fe80::1" }]);
      expect(await pod.ping("fd77::6")).toBe(true);
      expectSuccess(await check(lab, pod, result));
    }));

  test("on a host whose new links neither forward nor speak IPv6", () =>
    withLab(async (lab) => {
      const pods = [await lab.pod(), await lab.pod()] as const;
      for (const path of [
        "ipv4/conf/default/forwarding=0",
        "ipv6/conf/default/disable_ipv6=1",
        "ipv4/conf/default/rp_filter=1",
      ])
        await lab.host.exec("sysctl", ["-qw", `net/${path}`]);
      const results = [await add(lab, pods[0]), await add(lab, pods[1], {}, { lease: LEASE6 })] as const;
      expect(await pods[0].ping("10.77.0.6")).toBe(true);
      expect(await pods[0].ping("fd77::6")).toBe(true);
      expectSuccess(await check(lab, pods[1], results[1]));
    }));

  test.each(versionsFrom("0.1.0"))("the result at %s, and DEL with it", (cniVersion) =>
    withLab(async (lab) => {
      const pod = await lab.pod();
      const lease = JSON.stringify({ cniVersion: "1.1.0", ...DUAL });
      const result = await add(lab, pod, { cniVersion }, { lease });
      if (cniVersion < "0.3.0") expect(result.ip4).toMatchObject({ ip: "10.77.0.5/24", gateway: "10.77.0.1" });
      else expect(result.ips).toMatchObject([{ interface: 1 }, { interface: 1 }]);
      await del(lab, pod, { cniVersion, prevResult: result });
      expect(await leftovers(lab, pod)).toEqual(NOTHING);
    }),
  );
});

/** `ip route` lists the default route first, and what is most specific last. */
function rank(route: string): number {
  if (route.startsWith("default")) return 0;
  return Number(/^\S+\/(\d+)/.exec(route)?.[1] ?? "33");
}

describe("a failed ADD leaves nothing, and a retry works", () => {
  test.each<[string, JsonObject, LabOptions, number, RegExp]>([
    ["no IPAM", { ipam: undefined }, {}, 7, /^no plugin name provided$/],
    ["an MTU that IPv6 cannot use", { mtu: 1000 }, {}, 7, /"mtu": 1000 is too small for IPv6/],
    ["an unknown backend", { ipMasqBackend: "x" }, {}, 7, /unknown ipmasq backend "x"/],
    ["no addresses", {}, { lease: { ips: [] } }, 7, /^IPAM plugin returned missing IP config$/],
    [
      "a gateway that is the container",
      {},
      { lease: { ips: [{ address: "10.77.0.5/24", gateway: "10.77.0.5" }] } },
      7,
      /^the gateway 10.77.0.5 is an address of the container itself$/,
    ],
    [
      "a route through somebody who is not on the link",
      {},
      { lease: { ...DUAL, routes: [{ dst: "10.0.0.0/8", gw: "10.77.0.9" }] } },
      7,
      /^the route to 10.0.0.0\/8 has gateway 10.77.0.9, which is not on the link$/,
    ],
    [
      "a route of the family that the container has no address of",
      {},
      { lease: { ips: [{ address: "10.77.0.5/24" }], routes: [{ dst: "::/0", gw: "fd77::1" }] } },
      7,
      /gateway fd77::1, which is not on the link/,
    ],
    [
      "a route that the kernel refuses",
      {},
      { lease: { ...DUAL, routes: [{ dst: "10.0.0.0/8", scope: 255 }] } },
      100,
      /^cannot add route 10.0.0.0\/8 via 10.77.0.1 through eth0/,
    ],
  ])("%s", (_name, extra, options, code, msg) =>
    withLab(async (lab) => {
      const pod = await lab.pod();
      expectError(await run(lab, "ADD", pod, extra, options), { code, msg });
      expect(await leftovers(lab, pod)).toEqual(NOTHING);
      const result = await add(lab, pod);
      expectSuccess(await check(lab, pod, result));
    }),
  );

  test("an address that another pod has: neither is cut off", () =>
    withLab(async (lab) => {
      const [pod, other] = [await lab.pod(), await lab.pod()];
      const result = await add(lab, pod);
      const refused = await run(lab, "ADD", other);
      expectError(refused, { code: 102, msg: /^the host has a route to 10.77.0.5 already through veth\S+ \(pwt-net / });
      expect(await other.links()).toEqual(["lo"]);
      expect(await lab.leases()).toEqual([`${pod.name}.eth0`]);
      expectSuccess(await check(lab, pod, result));
      expect(await lab.host.ping("10.77.0.5")).toBe(true);
      await del(lab, pod);
      await add(lab, other);
    }));

  test("a second ADD is refused, and the first attachment keeps its lease", () =>
    withLab(async (lab) => {
      const pod = await lab.pod();
      const result = await add(lab, pod);
      expectError(await run(lab, "ADD", pod), { code: 102, msg: /^container veth name \("eth0"\) already exists$/ });
      expect(await lab.leases()).toEqual([`${pod.name}.eth0`]);
      expectSuccess(await check(lab, pod, result));
    }));
});
