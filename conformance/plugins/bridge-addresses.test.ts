/** Addresses, routes, Ethernet addresses and the result's shape in every version. */
import { describe, expect, test } from "vitest";
import { expectError, expectSuccess, type JsonObject, VERSIONS } from "../../testbed/harness.ts";
import { addressesOf, BRIDGE, hostEnd, type Lab, leftovers, linkOf, NOTHING, routesOf, withLab } from "./bridge-lab.ts";

const MACS = { runtime: "02:11:11:11:11:11", args: "02:22:22:22:22:22", env: "02:33:33:33:33:33" };

describe("without IPAM", () => {
  test.each([
    ["no ipam at all", undefined],
    ["an empty ipam object", {}],
    ["an empty ipam.type", { type: "" }],
  ])("%s: a port on the bridge and no more", (_name, ipam) =>
    withLab(async (lab) => {
      const pod = await lab.pod();
      const result = await lab.add(pod, { ipam });
      expect(result.ips).toBeUndefined();
      expect(result.interfaces).toHaveLength(3);
      expect(await addressesOf(pod, "eth0")).toEqual([]);
      expect((await linkOf(pod, "eth0")).flags).toContain("UP");
      expectSuccess(await lab.check(pod, result, { ipam }));
      expectSuccess(await lab.run("STATUS", pod, { ipam }));
      expectSuccess(await lab.run("GC", pod, { ipam, "cni.dev/valid-attachments": [] }));
      await lab.del(pod, { ipam });
      expect(await leftovers(lab, pod)).toEqual(NOTHING);
      expect(await lab.calls()).toEqual([]);
    }),
  );

  test.each(["0.1.0", "0.2.0"])("version %s cannot say it: an error, nothing left", (cniVersion) =>
    withLab(async (lab) => {
      const pod = await lab.pod();
      const result = await lab.run("ADD", pod, { ipam: undefined, cniVersion });
      expectError(result, { code: 1, msg: "cannot convert: no valid IP addresses", details: /0\.3\.0 or later/ });
      expect(await leftovers(lab, pod)).toEqual(NOTHING);
    }),
  );
});

describe("addresses", () => {
  test("several of both families", () =>
    withLab(async (lab) => {
      const pod = await lab.pod();
      const ips = [
        { address: "10.77.0.5/24", gateway: "10.77.0.1" },
        { address: "10.78.0.5/16" },
        { address: "fd77::5/64", gateway: "fd77::1" },
        { address: "fd78::5/120" },
      ];
      const result = await lab.add(pod, {}, { lease: { ips } });
      expect(result.ips).toEqual(ips.map((ip) => ({ interface: 2, ...ip })));
      expect(await addressesOf(pod, "eth0")).toEqual(ips.map((ip) => ip.address));
      expectSuccess(await lab.check(pod, result));
    }));

  test.each(["10.77.0.5/31", "10.77.0.5/32", "fd77::5/127", "fd77::5/128"])("%s", (address) =>
    withLab(async (lab) => {
      const pod = await lab.pod();
      const result = await lab.add(pod, {}, { lease: { ips: [{ address }] } });
      expect(await addressesOf(pod, "eth0")).toEqual([address]);
      expectSuccess(await lab.check(pod, result));
    }),
  );

  test("an IPv4 address has its broadcast address", () =>
    withLab(async (lab) => {
      const pod = await lab.pod();
      await lab.add(pod, {}, { lease: { ips: [{ address: "10.77.1.5/22" }] } });
      const [link] = await pod.query("address", "show", "dev", "eth0");
      expect(((link?.addr_info ?? []) as JsonObject[])[0]).toMatchObject({
        local: "10.77.1.5",
        broadcast: "10.77.3.255",
      });
    }));

  test("two pods reach each other and the gateway over IPv4 and IPv6", () =>
    withLab(async (lab) => {
      const [a, b] = [await lab.pod(), await lab.pod()];
      const lease = (n: number) => ({ lease: { ips: [{ address: `10.77.0.${n}/24` }, { address: `fd77::${n}/64` }] } });
      await lab.add(a, { isGateway: true }, lease(5));
      await lab.add(b, { isGateway: true }, lease(6));
      for (const address of ["10.77.0.1", "10.77.0.6", "fd77::1", "fd77::6"]) {
        expect(await a.ping(address), address).toBe(true);
      }
    }));

  test("two networks: pods of one reach pods of the other through the host", () =>
    withLab(async (lab) => {
      const [a, b] = [await lab.pod(), await lab.pod()];
      const lease = (n: number) => ({ lease: { ips: [{ address: `10.${n}.0.5/24` }, { address: `fd${n}::5/64` }] } });
      await lab.add(a, { isDefaultGateway: true }, lease(77));
      await lab.add(b, { isDefaultGateway: true, name: "other", bridge: "pwt1" }, lease(78));
      expect(await a.ping("10.78.0.5")).toBe(true);
      expect(await a.ping("fd78::5")).toBe(true);
    }));
});

describe("routes", () => {
  const add = (lab: Lab, pod: Parameters<Lab["add"]>[0], routes: JsonObject[], extra: JsonObject = {}) =>
    lab.add(pod, extra, {
      lease: {
        ips: [
          { address: "10.77.0.5/24", gateway: "10.77.0.1" },
          { address: "fd77::5/64", gateway: "fd77::1" },
        ],
        routes,
      },
    });

  test("through the gateway named, or the first of the family", () =>
    withLab(async (lab) => {
      const pod = await lab.pod();
      const routes = [
        { dst: "192.0.2.0/24", gw: "10.77.0.9" },
        { dst: "198.51.100.0/24" },
        { dst: "2001:db8::/32", gw: "fd77::9" },
        { dst: "2001:db9::/32" },
      ];
      const result = await add(lab, pod, routes);
      expect(result.routes).toEqual(routes);
      expect(await routesOf(pod, 4)).toMatchObject([
        { dst: "192.0.2.0/24", gateway: "10.77.0.9", dev: "eth0" },
        { dst: "198.51.100.0/24", gateway: "10.77.0.1", dev: "eth0" },
      ]);
      expect(await routesOf(pod, 6)).toMatchObject([
        { dst: "2001:db8::/32", gateway: "fd77::9", dev: "eth0" },
        { dst: "2001:db9::/32", gateway: "fd77::1", dev: "eth0" },
      ]);
      expectSuccess(await lab.check(pod, result));
    }));

  test("without any gateway they are on the link", () =>
    withLab(async (lab) => {
      const pod = await lab.pod();
      const lease = { ips: [{ address: "10.77.0.5/24" }], routes: [{ dst: "192.0.2.0/24" }] };
      const result = await lab.add(pod, {}, { lease });
      expect(await routesOf(pod, 4)).toMatchObject([{ dst: "192.0.2.0/24", scope: "link" }]);
      expectSuccess(await lab.check(pod, result));
    }));

  test.each([
    ["mtu", { mtu: 1234 }, { metrics: [{ mtu: 1234 }] }],
    ["advmss", { advmss: 1111 }, { metrics: [{ advmss: 1111 }] }],
    ["mtu and advmss", { mtu: 1300, advmss: 1200 }, { metrics: [{ mtu: 1300, advmss: 1200 }] }],
    ["priority", { priority: 77 }, { metric: 77 }],
    ["a small table", { table: 100 }, { table: "100" }],
    ["a large table", { table: 100000 }, { table: "100000" }],
    ["table 0, the main one", { table: 0 }, { table: "main" }],
    ["table 254, the main one", { table: 254 }, { table: "main" }],
  ])("the attribute %s [RESULT-7]", (_name, attributes, expected) =>
    withLab(async (lab) => {
      const pod = await lab.pod();
      const routes = [
        { dst: "192.0.2.0/24", ...attributes },
        { dst: "2001:db8::/32", ...attributes },
      ];
      const result = await add(lab, pod, routes);
      expect(result.routes).toEqual(routes);
      const found = (await routesOf(pod, 4)).map((route) => ({ table: "main", ...route }));
      expect(found).toMatchObject([{ dst: "192.0.2.0/24", ...expected }]);
      const found6 = (await routesOf(pod, 6)).map((route) => ({ table: "main", ...route }));
      expect(found6).toMatchObject([{ dst: "2001:db8::/32", ...expected }]);
      expectSuccess(await lab.check(pod, result));
    }),
  );

  test("the attribute scope", () =>
    withLab(async (lab) => {
      const pod = await lab.pod();
      const lease = { ips: [{ address: "10.77.0.5/24" }], routes: [{ dst: "192.0.2.0/24", scope: 200 }] };
      const result = await lab.add(pod, {}, { lease });
      expect(await routesOf(pod, 4)).toMatchObject([{ dst: "192.0.2.0/24", scope: expect.stringMatching("200|site") }]);
      expectSuccess(await lab.check(pod, result));
    }));

  test("one destination with two priorities, and the same route twice", () =>
    withLab(async (lab) => {
      const pod = await lab.pod();
      const one = { dst: "192.0.2.0/24", gw: "10.77.0.8", priority: 10 };
      const two = { dst: "192.0.2.0/24", gw: "10.77.0.9", priority: 20 };
      const result = await add(lab, pod, [one, two, one]);
      expect(await routesOf(pod, 4)).toMatchObject([
        { gateway: "10.77.0.8", metric: 10 },
        { gateway: "10.77.0.9", metric: 20 },
      ]);
      expectSuccess(await lab.check(pod, result));
    }));

  test("host bits in a destination are no failure", () =>
    withLab(async (lab) => {
      const pod = await lab.pod();
      const result = await add(lab, pod, [{ dst: "192.0.2.7/24" }]);
      expect(await routesOf(pod, 4)).toMatchObject([{ dst: "192.0.2.0/24" }]);
      expectSuccess(await lab.check(pod, result));
    }));
});

describe("Ethernet addresses", () => {
  test.each([
    ["runtimeConfig", MACS.runtime, { runtimeConfig: { mac: MACS.runtime }, args: { cni: { mac: MACS.args } } }, "env"],
    ["args.cni", MACS.args, { args: { cni: { mac: MACS.args } } }, "env"],
    ["CNI_ARGS", MACS.env, {}, "env"],
    ["runtimeConfig alone", MACS.runtime, { runtimeConfig: { mac: MACS.runtime } }, ""],
  ])("%s comes first", (_name, expected, extra, env) =>
    withLab(async (lab) => {
      const pod = await lab.pod();
      const options = env === "" ? {} : { args: `IgnoreUnknown=1;K8S_POD_NAME=x;MAC=${MACS.env}` };
      const result = await lab.add(pod, extra, options);
      expect(await linkOf(pod, "eth0")).toMatchObject({ address: expected });
      expect((result.interfaces as JsonObject[])[2]).toMatchObject({ mac: expected });
      expectSuccess(await lab.check(pod, result, extra, options));
    }),
  );

  test.each(["02:ab:cd:ef:01:02", "02-AB-CD-EF-01-02", "02ab.cdef.0102", "02AB.CDEF.0102"])(
    "%s is taken from all three places, and from a previous result",
    (mac) =>
      withLab(async (lab) => {
        for (const [extra, options] of [
          [{ runtimeConfig: { mac } }, {}],
          [{ args: { cni: { mac } } }, {}],
          [{}, { args: `MAC=${mac}` }],
        ] as const) {
          const pod = await lab.pod();
          const result = await lab.add(pod, extra, options);
          expect(await linkOf(pod, "eth0")).toMatchObject({ address: "02:ab:cd:ef:01:02" });
          const interfaces = (result.interfaces as JsonObject[]).map((item) =>
            item.name === "eth0" ? { ...item, mac } : item,
          );
          expectSuccess(await lab.check(pod, { ...result, interfaces }, extra, options));
          expectSuccess(await lab.run("DEL", pod, extra, options));
        }
      }),
  );

  test.each([
    "zz",
    "02ab.cdef",
    "02ab.cdef.0102.0304",
    "02ab:cdef:0102",
    "0100.0000.0001",
    "01:00:00:00:00:01",
    "00:00:00:00:00:00",
    "02:00:00:00:00",
    "02:00:00:00:00:00:00:00",
  ])("%s is refused before anything is done", (mac) =>
    withLab(async (lab) => {
      const pod = await lab.pod();
      for (const [extra, code, where] of [
        [{ runtimeConfig: { mac } }, 7, /"runtimeConfig\.mac"/],
        [{ args: { cni: { mac } } }, 7, /"args\.cni\.mac"/],
      ] as const) {
        expectError(await lab.run("ADD", pod, extra), { code, msg: where });
      }
      expectError(await lab.run("ADD", pod, {}, { args: `MAC=${mac}` }), { code: 4, msg: /MAC/ });
      expect(await lab.host.links()).toEqual(["lo"]);
      expect(await lab.calls()).toEqual([]);
    }),
  );

  test("both ends' addresses and the host end's name are the same each time, and differ between attachments", () =>
    withLab(async (lab) => {
      const [a, b] = [await lab.pod(), await lab.pod()];
      const seen: JsonObject[][] = [];
      for (const [pod, ifname] of [
        [a, "eth0"],
        [a, "eth0"],
        [a, "eth1"],
        [b, "eth0"],
      ] as const) {
        const result = await lab.add(pod, {}, { ifname, lease: { ips: [{ address: "10.77.0.5/24" }] } });
        seen.push((result.interfaces as JsonObject[]).slice(1).map(({ name, mac }) => ({ name, mac })));
        if (ifname === "eth0" && pod === a) await lab.del(pod, {}, { ifname });
      }
      expect(seen[1]).toEqual(seen[0]);
      const hostNames = [seen[0], seen[2], seen[3]].map((links) => links?.[0]?.name);
      const macs = [seen[0], seen[2], seen[3]].flatMap((links) => links?.map((link) => link.mac));
      expect(new Set(hostNames).size).toBe(3);
      expect(new Set(macs).size).toBe(6);
      for (const name of hostNames) expect(name).toMatch(/^veth[0-9a-f]{11}$/);
      for (const mac of macs) expect(Number.parseInt(String(mac).slice(0, 2), 16) & 3).toBe(2);
    }));

  test("the bridge's does not change with the ports that come and go", () =>
    withLab(async (lab) => {
      const pods = [await lab.pod(), await lab.pod(), await lab.pod()];
      const macs: unknown[] = [];
      const note = async () => macs.push((await linkOf(lab.host, BRIDGE)).address);
      for (const pod of pods) {
        await lab.add(pod, { isGateway: true });
        await note();
      }
      /* A port with a lower address than all others would take the bridge's over if it were not pinned. */
      await lab.host.ip("link", "add", "low", "address", "02:00:00:00:00:01", "type", "veth", "peer", "name", "low2");
      await lab.host.ip("link", "set", "low", "master", BRIDGE);
      await note();
      await lab.host.ip("link", "delete", "low");
      for (const pod of pods) {
        await lab.del(pod, { isGateway: true });
        await note();
      }
      expect(new Set(macs).size).toBe(1);
    }));
});

describe.each(VERSIONS)("version %s", (cniVersion) => {
  test("the result has the version's shape", () =>
    withLab(async (lab) => {
      const pod = await lab.pod();
      const old = cniVersion === "0.1.0" || cniVersion === "0.2.0";
      const lease = old
        ? {
            ip4: { ip: "10.77.0.5/24", gateway: "10.77.0.1", routes: [{ dst: "0.0.0.0/0" }] },
            ip6: { ip: "fd77::5/64" },
          }
        : { ips: withVersions(cniVersion), routes: [{ dst: "0.0.0.0/0" }] };
      const result = await lab.add(pod, { cniVersion, isGateway: true }, { lease: JSON.stringify(lease) });
      expect(result.cniVersion).toBe(cniVersion);
      if (old) {
        expect(result).toEqual({
          cniVersion,
          ip4: { ip: "10.77.0.5/24", gateway: "10.77.0.1", routes: [{ dst: "0.0.0.0/0" }] },
          ip6: { ip: "fd77::5/64", gateway: "fd77::1" },
          dns: {},
        });
      } else {
        const interfaces = result.interfaces as JsonObject[];
        expect(interfaces.map((item) => item.name)).toEqual([BRIDGE, hostEnd(result), "eth0"]);
        expect(interfaces.map((item) => "mtu" in item)).toEqual(Array(3).fill(cniVersion === "1.1.0"));
        expect(result.ips).toEqual(withVersions(cniVersion).map((ip) => ({ interface: 2, gateway: "fd77::1", ...ip })));
        expect("dns" in result).toBe(cniVersion < "1.0.0");
      }
      expect(await addressesOf(pod, "eth0")).toEqual(["10.77.0.5/24", "fd77::5/64"]);
      if (cniVersion >= "0.4.0") {
        expectSuccess(await lab.check(pod, result, { cniVersion, isGateway: true }));
      }
      if (cniVersion >= "1.1.0") {
        expectSuccess(await lab.run("STATUS", pod, { cniVersion, isGateway: true }));
        expectSuccess(await lab.run("GC", pod, { cniVersion, "cni.dev/valid-attachments": [], isGateway: true }));
        expect(await pod.links()).toEqual(["lo"]);
      }
      await lab.del(pod, { cniVersion, isGateway: true });
      expect(await leftovers(lab, pod)).toEqual(NOTHING);
    }));
});

function withVersions(cniVersion: string): JsonObject[] {
  const ips = [{ address: "10.77.0.5/24", gateway: "10.77.0.1" }, { address: "fd77::5/64" }];
  return ips.map((ip, i) => (cniVersion < "1.0.0" ? { version: i === 0 ? "4" : "6", ...ip } : ip));
}
