/** host-local as a user sees it: which addresses it allocates, which requests it refuses, and its errors. */
import { stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { expectError, expectSuccess, Netns, VERSIONS } from "../../testbed/harness.ts";
import { smallRange, withNetwork } from "./host-local-harness.ts";

const SUBNET = { subnet: "10.9.0.0/24" };

describe("ADD", () => {
  it.each(VERSIONS)(
    "gives an address, its gateway and the routes at CNI %s [DELEG-1 IPAM-1 IPAM-2]",
    async (cniVersion) => {
      const ipam = { ...SUBNET, routes: [{ dst: "0.0.0.0/0" }, { dst: "192.168.0.0/16", gw: "10.9.0.9" }] };
      await withNetwork(ipam, async (network) => {
        const result = expectSuccess(await network.call("ADD", "c1", { cniVersion }));
        const routes = ipam.routes;
        if (cniVersion < "0.3.0") {
          expect(result.ip4).toEqual({ ip: "10.9.0.2/24", gateway: "10.9.0.1", routes });
        } else {
          const version = cniVersion < "1.0.0" ? { version: "4" } : {};
          expect(result.ips).toEqual([{ ...version, address: "10.9.0.2/24", gateway: "10.9.0.1" }]);
          expect(result.routes).toEqual(routes);
        }
      });
    },
  );

  it("takes the keys of all forms, the runtime's first, each set giving one address", async () => {
    const ipam = { ...SUBNET, rangeStart: "10.9.0.20", gateway: "10.9.0.77", ranges: [[{ subnet: "fd00:9::/64" }]] };
    const more = { runtimeConfig: { ipRanges: [[{ subnet: "10.8.0.0/24", rangeEnd: "10.8.0.9" }]] } };
    await withNetwork(ipam, async (network) => {
      const result = expectSuccess(await network.call("ADD", "c1", { more }));
      expect(result.ips).toEqual([
        { address: "10.8.0.2/24", gateway: "10.8.0.1" },
        { address: "10.9.0.20/24", gateway: "10.9.0.77" },
        { address: "fd00:9::2/64", gateway: "fd00:9::1" },
      ]);
      expect(await network.addresses()).toEqual(["10.8.0.2", "10.9.0.20", "fd00:9::2"]);
      await network.del("c1");
      expect(await network.addresses()).toEqual([]);
    });
  });

  it("continues from one range of a set to the next, each with its own gateway", async () => {
    const ranges = [[{ subnet: "10.9.0.0/30" }, { subnet: "10.10.0.0/30", gateway: "10.10.0.2" }]];
    await withNetwork({ ranges }, async (network) => {
      expect(await network.addOne("c1")).toBe("10.9.0.2");
      const result = expectSuccess(await network.call("ADD", "c2"));
      expect(result.ips).toEqual([{ address: "10.10.0.1/30", gateway: "10.10.0.2" }]);
      expectError(await network.call("ADD", "c3"), {
        code: 103,
        msg: "failed to allocate for range 0: no IP addresses available in range set: 10.9.0.1-10.9.0.2,10.10.0.1-10.10.0.2",
        details: /^used 2 of 2, reclaimable 0\. See who holds them: grep -r \. \//,
      });
    });
  });

  it("allocates from subnets of two addresses and of one", async () => {
    const ranges = [[{ subnet: "10.9.0.4/31" }], [{ subnet: "fd00:9::4/127", gateway: "fd00:9::4" }]];
    await withNetwork({ ranges }, async (network) => {
      const result = expectSuccess(await network.call("ADD", "c1"));
      expect(result.ips).toEqual([
        { address: "10.9.0.4/31", gateway: "10.9.0.5" },
        { address: "fd00:9::5/127", gateway: "fd00:9::4" },
      ]);
      expectError(await network.call("ADD", "c2"), { code: 103 });
    });
    await withNetwork({ subnet: "10.9.0.4/32" }, async (network) => {
      expect(expectSuccess(await network.call("ADD", "c1")).ips).toEqual([{ address: "10.9.0.4/32" }]);
      expectError(await network.call("ADD", "c2"), { code: 103 });
      await network.del("c1");
      expect(await network.addOne("c3")).toBe("10.9.0.4");
    });
  });

  it("never allocates the network or broadcast address, even if the range includes it", async () => {
    const ipam = { subnet: "10.9.0.0/29", rangeStart: "10.9.0.0", rangeEnd: "10.9.0.7" };
    await withNetwork(ipam, async (network) => {
      const given = [];
      for (let i = 0; i < 5; i += 1) given.push(await network.addOne(`c${i}`));
      expect(given).toEqual(["10.9.0.2", "10.9.0.3", "10.9.0.4", "10.9.0.5", "10.9.0.6"]);
      expectError(await network.call("ADD", "c9"), { code: 103 });
    });
  });

  it("creates directories and files for root alone", async () => {
    await withNetwork(SUBNET, async (network) => {
      await network.add("c1");
      const mode = async (path: string) => ((await stat(path)).mode & 0o777).toString(8);
      for (const directory of [network.dataDir, network.leases, join(network.dataDir, ".podwire"), network.own]) {
        expect(await mode(directory)).toBe("700");
      }
      for (const file of ["10.9.0.2", "lock", "last_reserved_ip.0"])
        expect(await mode(join(network.leases, file))).toBe("600");
      for (const file of Object.keys(await network.records())) expect(await mode(join(network.own, file))).toBe("600");
    });
  });

  it("reads DNS from a resolv.conf, and allocates nothing if it cannot", async () => {
    await withNetwork({}, async (network) => {
      const resolvConf = join(network.directory, "resolv.conf");
      await writeFile(
        resolvConf,
        "# c\n; c\nnameserver 192.0.2.1\nnameserver 192.0.2.2\ndomain a.b\nsearch x y\noptions q\n",
      );
      const result = expectSuccess(await network.call("ADD", "c1", { ipam: { ...SUBNET, resolvConf } }));
      expect(result.dns).toEqual({
        nameservers: ["192.0.2.1", "192.0.2.2"],
        domain: "a.b",
        search: ["x", "y"],
        options: ["q"],
      });
      const missing = { ...SUBNET, resolvConf: join(network.directory, "missing") };
      expectError(await network.call("ADD", "c2", { ipam: missing }), { code: 5, msg: /cannot read .*missing/ });
      expect(await network.addresses()).toEqual(["10.9.0.2"]);
    });
  });
});

describe("requested addresses", () => {
  const ranges = [[{ subnet: "10.9.0.0/24" }], [{ subnet: "fd00:9::/64" }], [{ subnet: "10.8.0.0/24" }]];

  it("come from all three sources, with or without prefix length, each for the set that holds it", async () => {
    await withNetwork({ ranges }, async (network) => {
      const more = { args: { cni: { ips: ["fd00:9::50/64"] } }, runtimeConfig: { ips: ["10.8.0.8/24", "10.9.0.99"] } };
      const variation = { args: "IgnoreUnknown=1;IP=10.9.0.99/16", more };
      expect(await network.add("c1", variation)).toEqual(["10.9.0.99", "fd00:9::50", "10.8.0.8"]);
      expect(await network.add("c2")).toEqual(["10.9.0.2", "fd00:9::2", "10.8.0.2"]);
    });
  });

  it("that no set holds are refused before anything is allocated", async () => {
    await withNetwork({ ranges }, async (network) => {
      const more = { runtimeConfig: { ips: ["10.9.0.5", "10.9.0.6", "172.16.0.1"] } };
      expectError(await network.call("ADD", "c1", { more }), {
        code: 7,
        msg: "failed to allocate all requested IPs: 10.9.0.6 172.16.0.1",
        details: /runtimeConfig\.ips\[1\], runtimeConfig\.ips\[2\]/,
      });
      await expect(stat(network.dataDir)).rejects.toThrow();
    });
  });

  it("that are the gateway, taken, or no addresses are refused", async () => {
    await withNetwork({ ranges }, async (network) => {
      expectError(await network.call("ADD", "c1", { args: "IP=10.9.0.1" }), {
        code: 7,
        msg: "failed to allocate for range 0: requested ip 10.9.0.1 is subnet's gateway",
      });
      await network.add("c1", { args: "IP=10.9.0.7" });
      expectError(await network.call("ADD", "c2", { args: "IP=10.9.0.7" }), {
        code: 102,
        msg: "failed to allocate for range 0: requested IP address 10.9.0.7 is not available in range set 10.9.0.1-10.9.0.254",
        details: /container c1 \(eth0\) holds it/,
      });
      expect(await network.addresses()).toHaveLength(3);
      for (const text of [
        "10.9.0.700",
        "10.9.0.5/99",
        "10.9.0.5/33",
        "fd00:9::5/129",
        "10.9.0.5/",
        "10.9.0.5/-1",
        "10.9.0.5/24/2",
      ]) {
        expectError(await network.call("ADD", "c2", { args: `IP=${text}` }), { code: 7, msg: /"IP in CNI_ARGS"/ });
        for (const [more, msg] of [
          [{ runtimeConfig: { ips: ["10.9.0.8", text] } }, /"runtimeConfig\.ips\[1\]"/],
          [{ args: { cni: { ips: [text] } } }, /"args\.cni\.ips\[0\]"/],
        ] as const) {
          expectError(await network.call("ADD", "c2", { more }), { code: 7, msg });
        }
      }
      expect(await network.addresses()).toHaveLength(3);
      expectError(await network.call("ADD", "c2", { args: "FOO=1" }), { code: 4, msg: 'ARGS: unknown args ["FOO=1"]' });
    });
  });
});

describe("configuration errors name the field", () => {
  const cases: [string, unknown, string | RegExp, RegExp][] = [
    ["no ipam", undefined, "IPAM config missing 'ipam' key", /./],
    ["no ranges", {}, "no IP ranges specified", /./],
    ["an empty set", { ranges: [[]] }, "invalid range set 0: empty range set", /./],
    ["no subnet", { ranges: [[{}]] }, "invalid range set 0: subnet is missing", /ipam\.ranges\[0\]\[0\]\.subnet/],
    ["a text", { subnet: "x" }, /ipam\.subnet/, /^$/],
    ["a wrong type", { ranges: [[{ subnet: 1 }]] }, /ipam\.ranges\[0\]\[0\]\.subnet/, /^$/],
    [
      "host bits",
      { ranges: [[{ subnet: "10.9.0.0/24" }], [{ subnet: "10.5.0.1/24" }]] },
      "invalid range set 1: Network has host bits set. For a subnet mask of length 24 the network address is 10.5.0.0",
      /ipam\.ranges\[1\]\[0\]\.subnet/,
    ],
    [
      "a start outside",
      { subnet: "10.9.0.0/24", rangeStart: "10.8.0.5" },
      "invalid range set 0: RangeStart 10.8.0.5 not in network 10.9.0.0/24",
      /ipam\.rangeStart/,
    ],
    [
      "a start after the end",
      { subnet: "10.9.0.0/24", rangeStart: "10.9.0.9", rangeEnd: "10.9.0.5" },
      "invalid range set 0: RangeStart 10.9.0.9 not in network 10.9.0.0/24",
      /ipam\.rangeStart.*10\.9\.0\.9-10\.9\.0\.5/,
    ],
    [
      "an end outside",
      { subnet: "10.9.0.0/24", rangeEnd: "10.9.1.5" },
      "invalid range set 0: RangeEnd 10.9.1.5 not in network 10.9.0.0/24",
      /ipam\.rangeEnd/,
    ],
    [
      "two families in a set",
      { ranges: [[{ subnet: "10.9.0.0/24" }, { subnet: "fd00::/64" }]] },
      "invalid range set 0: mixed address families",
      /ipam\.ranges\[0\]\[1\]/,
    ],
    [
      "an overlap in a set",
      { ranges: [[{ subnet: "10.9.0.0/16" }, { subnet: "10.9.0.0/24" }]] },
      "invalid range set 0: subnets 10.9.0.1-10.9.255.254 and 10.9.0.1-10.9.0.254 overlap",
      /ipam\.ranges\[0\]\[1\]/,
    ],
    [
      "an overlap across sets",
      { subnet: "10.9.0.0/16", ranges: [[{ subnet: "10.9.0.0/24" }]] },
      "range set 0 overlaps with 1",
      /ipam\.ranges\[0\]\[0\]/,
    ],
    ["a broken route", { ...SUBNET, routes: [{ dst: "0.0.0.0" }] }, /ipam\.routes\[0\]\.dst/, /^$/],
  ];
  it.each(cases)("%s", async (_name, ipam, msg, details) => {
    await withNetwork({}, async (network) => {
      const config =
        ipam === undefined
          ? { cniVersion: "1.1.0", name: "net" }
          : network.config({ ipam: ipam as Record<string, unknown> });
      const result = await network.call("ADD", "c1", { config });
      expectError(result, { code: 7, msg });
      expect(String(result.json?.details ?? "")).toMatch(details);
    });
  });

  it.each(["0.1.0", "0.2.0"])("two sets of one family at CNI %s", async (cniVersion) => {
    const two = { ranges: [[{ subnet: "10.9.0.0/24" }], [{ subnet: "10.8.0.0/24" }]] };
    await withNetwork(two, async (network) => {
      const msg = `CNI version ${cniVersion} does not support more than 1 address per family`;
      expectError(await network.call("ADD", "c1", { cniVersion }), { code: 7, msg });
      const dual = { ranges: [[{ subnet: "10.9.0.0/24" }], [{ subnet: "fd00::/64" }]] };
      const result = expectSuccess(await network.call("ADD", "c1", { cniVersion, ipam: dual }));
      expect(result.ip4).toMatchObject({ ip: "10.9.0.2/24" });
      expect(result.ip6).toMatchObject({ ip: "fd00::2/64" });
    });
  });
});

describe("repeated ADD", () => {
  it("returns the same addresses if the interface is gone, and is an error if it exists", async () => {
    await withNetwork({ ranges: [[SUBNET], [{ subnet: "fd00:9::/64" }]] }, async (network) => {
      const pod = await Netns.create();
      try {
        const first = await network.add("c1", { netns: pod.path });
        await network.add("c2");
        expect(await network.add("c1", { netns: pod.path })).toEqual(first);
        await pod.ip("link", "add", "eth0", "type", "veth", "peer", "name", "other");
        expectError(await network.call("ADD", "c1", { netns: pod.path }), {
          code: 102,
          msg: "failed to allocate for range 0: 10.9.0.2 has been allocated to c1, duplicate allocation is not allowed",
          details: /interface eth0 is still in/,
        });
        expect(await network.add("c1", { netns: pod.path, ifname: "net1" })).toEqual(["10.9.0.4", "fd00:9::4"]);
        expect(await network.addresses()).toHaveLength(6);
      } finally {
        await pod.remove();
      }
    });
  });

  it("follows a changed request or range, leaving nothing behind", async () => {
    await withNetwork(SUBNET, async (network) => {
      await network.add("c1");
      expect(await network.addOne("c1", { args: "IP=10.9.0.50" })).toBe("10.9.0.50");
      expect(await network.addresses()).toEqual(["10.9.0.50"]);
      expect(await network.addOne("c1", { ipam: { subnet: "10.8.0.0/24" } })).toBe("10.8.0.2");
      expect(await network.addresses()).toEqual(["10.8.0.2"]);
      await network.del("c1");
      expect(await network.addresses()).toEqual([]);
    });
  });
});

it("reuses an address only after all others were allocated", async () => {
  await withNetwork(smallRange(6), async (network) => {
    const given: string[] = [];
    for (let i = 0; i < 7; i += 1) {
      given.push(await network.addOne(`a${i}`));
      await network.del(`a${i}`);
    }
    expect(given).toEqual([2, 3, 4, 5, 6, 2, 3].map((last) => `10.9.0.${last}`));
    /* From here on the order of release decides. */
    const held: string[] = [];
    for (const id of ["b1", "b2", "b3"]) held.push(await network.addOne(id));
    expect(held).toEqual(["10.9.0.4", "10.9.0.5", "10.9.0.6"]);
    for (const id of ["b3", "b1", "b2"]) await network.del(id);
    const next: string[] = [];
    for (let i = 0; i < 5; i += 1) next.push(await network.addOne(`d${i}`));
    expect(next).toEqual(["10.9.0.2", "10.9.0.3", "10.9.0.6", "10.9.0.4", "10.9.0.5"]);
  });
});

it("does not reuse a requested address at once when the pass reaches it", async () => {
  await withNetwork(smallRange(6), async (network) => {
    await network.add("c1", { args: "IP=10.9.0.2" });
    await network.del("c1");
    expect(await network.addOne("c2")).toBe("10.9.0.3");
    await network.add("c3", { args: "IP=10.9.0.4" });
    await network.del("c3");
    const given = [];
    for (const id of ["c4", "c5", "c6", "c7"]) given.push(await network.addOne(id));
    expect(given).toEqual(["10.9.0.5", "10.9.0.6", "10.9.0.2", "10.9.0.4"]);
  });
});
