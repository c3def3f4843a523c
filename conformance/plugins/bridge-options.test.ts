/** Every option of the bridge plugin, seen in the kernel by ip(8) and /proc, and by netlink through another library. */
import { describe, expect, test } from "vitest";
import { expectError, expectSuccess, type JsonObject, type Netns, repository } from "../../testbed/harness.ts";
import { addressesOf, BRIDGE, capture, hostEnd, leftovers, linkOf, NOTHING, routesOf, withLab } from "./bridge-lab.ts";

const slaveData = (link: JsonObject): JsonObject => ((link.linkinfo as JsonObject).info_slave_data ?? {}) as JsonObject;
const infoKind = (link: JsonObject): unknown => (link.linkinfo as JsonObject | undefined)?.info_kind;

describe("the attachment", () => {
  test("a bridge, a veth pair, an address and the result that tells of them", () =>
    withLab(async (lab) => {
      const pod = await lab.pod();
      const result = await lab.add(pod, {}, { lease: { ips: [{ address: "10.77.0.5/24", gateway: "10.77.0.1" }] } });
      const bridge = await linkOf(lab.host, BRIDGE);
      const port = await linkOf(lab.host, hostEnd(result));
      const inside = await linkOf(pod, "eth0");
      expect(result).toEqual({
        cniVersion: "1.1.0",
        interfaces: [
          { name: BRIDGE, mac: bridge.address, mtu: 1500 },
          { name: port.ifname, mac: port.address, mtu: 1500 },
          { name: "eth0", mac: inside.address, mtu: 1500, sandbox: pod.path },
        ],
        ips: [{ interface: 2, address: "10.77.0.5/24", gateway: "10.77.0.1" }],
      });
      expect(infoKind(bridge)).toBe("bridge");
      expect(bridge.flags).toContain("UP");
      expect(port).toMatchObject({ master: BRIDGE, operstate: "UP" });
      expect(infoKind(port)).toBe("veth");
      expect(port.ifalias).toBe(`podwire pwt-net ${pod.name} eth0`);
      expect(inside).toMatchObject({ operstate: "UP" });
      expect(await addressesOf(pod, "eth0")).toEqual(["10.77.0.5/24"]);
      /* Without isGateway the host stays out of it. */
      expect(await addressesOf(lab.host, BRIDGE)).toEqual([]);
      await lab.del(pod);
      expect(await leftovers(lab, pod)).toEqual(NOTHING);
    }));

  test("another netlink library sees the same", () =>
    withLab(async (lab) => {
      const pod = await lab.pod();
      const result = await lab.add(pod, { isGateway: true, mtu: 1400 });
      const seen = await throughLibrary(lab.host);
      const bridge = seen.links.find((link) => link.name === BRIDGE);
      const port = seen.links.find((link) => link.name === hostEnd(result));
      expect(port).toMatchObject({ mtu: 1400, master: bridge?.index, up: true });
      expect(seen.addresses).toContainEqual({ index: bridge?.index, address: "10.77.0.1", length: 24 });
    }));

  test("groupFwdMask is set on a new bridge and on one that is there; CHECK compares it", () =>
    withLab(async (lab) => {
      const [pod, other] = [await lab.pod(), await lab.pod()];
      const maskOf = async () => {
        const { linkinfo } = await linkOf(lab.host, BRIDGE);
        return Number(((linkinfo as JsonObject).info_data as JsonObject).group_fwd_mask);
      };
      await lab.add(pod, { groupFwdMask: 16384 });
      expect(await maskOf()).toBe(16384);
      /* Without the option it stays. */
      await lab.add(other);
      expect(await maskOf()).toBe(16384);
      await lab.del(other);
      const result = await lab.add(other, { groupFwdMask: 8 });
      expect(await maskOf()).toBe(8);
      expectSuccess(await lab.check(other, result, { groupFwdMask: 8 }));
      await lab.host.ip("link", "set", BRIDGE, "type", "bridge", "group_fwd_mask", "0");
      expectError(await lab.check(other, result, { groupFwdMask: 8 }), {
        code: 101,
        msg: /group_fwd_mask 0, expected 8/,
      });
      for (const groupFwdMask of [1, 2, 7, -1, 65_536, "8"]) {
        const refused = await lab.run("ADD", await lab.pod(), { groupFwdMask });
        expectError(refused, { code: 7, msg: /^invalid value for "groupFwdMask": / });
      }
    }));

  test("the default name of the bridge is cni0", () =>
    withLab(async (lab) => {
      const pod = await lab.pod();
      await lab.add(pod, { bridge: undefined });
      expect(await lab.host.links()).toContain("cni0");
    }));

  test("a bridge that is there is used as it is", () =>
    withLab(async (lab) => {
      const pod = await lab.pod();
      await lab.host.ip("link", "add", BRIDGE, "address", "02:00:00:00:00:77", "type", "bridge");
      await lab.host.ip("link", "set", BRIDGE, "mtu", "1300");
      await lab.host.ip("address", "add", "10.99.0.1/24", "dev", BRIDGE);
      const result = await lab.add(pod);
      expect(result.interfaces).toContainEqual({ name: BRIDGE, mac: "02:00:00:00:00:77", mtu: 1300 });
      expect(await addressesOf(lab.host, BRIDGE)).toEqual(["10.99.0.1/24"]);
      expect((await linkOf(lab.host, BRIDGE)).flags).toContain("UP");
    }));

  test("two attachments of one container", () =>
    withLab(async (lab) => {
      const pod = await lab.pod();
      await lab.add(pod, {}, { ifname: "eth0" });
      await lab.add(pod, { bridge: "pwt1" }, { ifname: "eth1" });
      expect(await pod.links()).toEqual(["eth0", "eth1", "lo"]);
      await lab.del(pod, { bridge: "pwt1" }, { ifname: "eth1" });
      expect(await pod.links()).toEqual(["eth0", "lo"]);
      expect(await lab.leases()).toEqual([`${pod.name}.eth0`]);
    }));
});

/** Links and addresses as the npm package "netlink" reads them inside a namespace. */
async function throughLibrary(namespace: Netns) {
  const script = `
    const { createRtNetlink } = require("netlink");
    const socket = createRtNetlink({ ref: true });
    (async () => {
      const links = (await socket.getLinks()).map((link) => ({
        index: link.data.index, name: link.attrs.ifname, mtu: link.attrs.mtu, master: link.attrs.master,
        up: link.data.flags.up === true,
      }));
      const addresses = (await socket.getAddresses()).map((entry) => ({
        index: entry.data.index, address: [...(entry.attrs.address ?? [])].join("."), length: entry.data.prefixlen,
      }));
      console.log(JSON.stringify({ links, addresses }));
      process.exit(0);
    })();`;
  const text = await namespace.exec(process.execPath, ["-e", script], { cwd: repository });
  return JSON.parse(text) as { links: JsonObject[]; addresses: JsonObject[] };
}

describe("isGateway", () => {
  test("without it no address, no forwarding", () =>
    withLab(async (lab) => {
      await lab.add(await lab.pod(), {}, { lease: { ips: [{ address: "10.77.0.5/24", gateway: "10.77.0.1" }] } });
      expect(await addressesOf(lab.host, BRIDGE)).toEqual([]);
      expect(await lab.host.sysctl("net/ipv4/ip_forward")).toBe("0");
    }));

  test("IPAM's gateway is on the bridge", () =>
    withLab(async (lab) => {
      const pod = await lab.pod();
      const result = await lab.add(
        pod,
        { isGateway: true },
        { lease: { ips: [{ address: "10.77.0.5/24", gateway: "10.77.0.254" }] } },
      );
      expect(await addressesOf(lab.host, BRIDGE)).toEqual(["10.77.0.254/24"]);
      expect(await routesOf(pod, 4)).toEqual([]);
      expect(result.routes).toBeUndefined();
      expect(await pod.ping("10.77.0.254")).toBe(true);
    }));

  test("where IPAM names none it is the network's first address", () =>
    withLab(async (lab) => {
      const result = await lab.add(
        await lab.pod(),
        { isGateway: true },
        { lease: { ips: [{ address: "10.77.0.5/24" }, { address: "fd77::5/64" }] } },
      );
      expect(result.ips).toMatchObject([{ gateway: "10.77.0.1" }, { gateway: "fd77::1" }]);
      expect(await addressesOf(lab.host, BRIDGE)).toEqual(["10.77.0.1/24", "fd77::1/64"]);
    }));
});

describe("isDefaultGateway", () => {
  test("adds a default route for each family and implies isGateway", () =>
    withLab(async (lab) => {
      const pod = await lab.pod();
      const result = await lab.add(
        pod,
        { isDefaultGateway: true },
        { lease: { ips: [{ address: "10.77.0.5/24" }, { address: "fd77::5/64" }] } },
      );
      expect(result.routes).toEqual([
        { dst: "0.0.0.0/0", gw: "10.77.0.1" },
        { dst: "::/0", gw: "fd77::1" },
      ]);
      expect(await routesOf(pod, 4)).toMatchObject([{ dst: "default", gateway: "10.77.0.1", dev: "eth0" }]);
      expect(await routesOf(pod, 6)).toMatchObject([{ dst: "default", gateway: "fd77::1", dev: "eth0" }]);
      expect(await addressesOf(lab.host, BRIDGE)).toEqual(["10.77.0.1/24", "fd77::1/64"]);
    }));

  test("IPAM's default route without gateway is no clash", () =>
    withLab(async (lab) => {
      const pod = await lab.pod();
      await lab.add(
        pod,
        { isDefaultGateway: true },
        { lease: { ips: [{ address: "10.77.0.5/24" }], routes: [{ dst: "0.0.0.0/0" }] } },
      );
      expect(await routesOf(pod, 4)).toMatchObject([{ dst: "default", gateway: "10.77.0.1" }]);
    }));

  test("IPAM's default route with a gateway of its own is kept", () =>
    withLab(async (lab) => {
      const pod = await lab.pod();
      await lab.add(
        pod,
        { isDefaultGateway: true },
        { lease: { ips: [{ address: "10.77.0.5/24" }], routes: [{ dst: "0.0.0.0/0", gw: "10.77.0.77" }] } },
      );
      expect(await routesOf(pod, 4)).toMatchObject([{ dst: "default", gateway: "10.77.0.77" }]);
    }));

  test("a gateway outside the subnet is reached all the same", () =>
    withLab(async (lab) => {
      const pod = await lab.pod();
      await lab.add(
        pod,
        { isDefaultGateway: true },
        { lease: { ips: [{ address: "10.77.0.5/32", gateway: "169.254.1.1" }] } },
      );
      expect(await routesOf(pod, 4)).toMatchObject([{ dst: "default", gateway: "169.254.1.1", flags: ["onlink"] }]);
    }));
});

describe("forceAddress", () => {
  const other = { lease: { ips: [{ address: "10.88.0.5/24" }] } };

  test("without it another address on the bridge is an error that says what was found", () =>
    withLab(async (lab) => {
      await lab.add(await lab.pod(), { isGateway: true });
      const pod = await lab.pod();
      const result = await lab.run("ADD", pod, { isGateway: true }, other);
      expectError(result, {
        code: 102,
        msg: `failed to set bridge addr: "${BRIDGE}" already has an IP address different from 10.88.0.1/24`,
        details: /10\.77\.0\.1\/24.*ip address delete 10\.77\.0\.1\/24 dev pwt0.*"forceAddress": true/,
      });
      expect(await addressesOf(lab.host, BRIDGE)).toEqual(["10.77.0.1/24"]);
    }));

  test("with it the other address goes", () =>
    withLab(async (lab) => {
      await lab.add(await lab.pod(), { isGateway: true });
      await lab.add(await lab.pod(), { isGateway: true, forceAddress: true }, other);
      expect(await addressesOf(lab.host, BRIDGE)).toEqual(["10.88.0.1/24"]);
    }));

  test("IPv6: only an overlapping subnet is in the way", () =>
    withLab(async (lab) => {
      const lease = (address: string) => ({ lease: { ips: [{ address }] } });
      await lab.add(await lab.pod(), { isGateway: true }, lease("fd77::5/64"));
      await lab.add(await lab.pod(), { isGateway: true }, lease("fd78::5/64"));
      expect(await addressesOf(lab.host, BRIDGE)).toEqual(["fd77::1/64", "fd78::1/64"]);
      const clash = await lab.run("ADD", await lab.pod(), { isGateway: true }, lease("fd77::1:5/112"));
      expectError(clash, { code: 102, msg: /already has an IP address different from fd77::1:1\/112/ });
      await lab.add(await lab.pod(), { isGateway: true, forceAddress: true }, lease("fd77::2:5/112"));
      expect(await addressesOf(lab.host, BRIDGE)).toEqual(["fd77::2:1/112", "fd78::1/64"]);
    }));
});

describe("mtu", () => {
  test("on the new bridge and both ends, and in the result", () =>
    withLab(async (lab) => {
      const pod = await lab.pod();
      const result = await lab.add(pod, { mtu: 1342 });
      expect(await linkOf(lab.host, BRIDGE)).toMatchObject({ mtu: 1342 });
      expect(await linkOf(lab.host, hostEnd(result))).toMatchObject({ mtu: 1342 });
      expect(await linkOf(pod, "eth0")).toMatchObject({ mtu: 1342 });
      expect((result.interfaces as JsonObject[]).map((item) => item.mtu)).toEqual([1342, 1342, 1342]);
    }));

  test("larger than the default", () =>
    withLab(async (lab) => {
      const pod = await lab.pod();
      await lab.add(pod, { mtu: 9000 });
      expect(await linkOf(pod, "eth0")).toMatchObject({ mtu: 9000 });
      expect(await linkOf(lab.host, BRIDGE)).toMatchObject({ mtu: 9000 });
    }));
});

describe("port options", () => {
  test.each([
    ["none", {}, { hairpin: false, isolated: false }],
    ["hairpinMode", { hairpinMode: true }, { hairpin: true, isolated: false }],
    ["portIsolation", { portIsolation: true }, { hairpin: false, isolated: true }],
  ])("%s", (_name, extra, expected) =>
    withLab(async (lab) => {
      const result = await lab.add(await lab.pod(), extra);
      expect(slaveData(await linkOf(lab.host, hostEnd(result)))).toMatchObject(expected);
    }),
  );

  test.each([true, false])("hairpinMode %s: a pod's broadcast comes back to it or not", (hairpinMode) =>
    withLab(async (lab) => {
      const pod = await lab.pod();
      await lab.add(pod, { hairpinMode });
      const incoming = await capture(pod, "eth0", "-Q", "in", "arp", "and", "host", "10.77.0.200");
      await pod.exec("ping", ["-c", "1", "-W", "1", "10.77.0.200"], { reject: false });
      expect((await incoming.stop()).length > 0).toBe(hairpinMode);
    }),
  );

  test("portIsolation: pods do not reach each other, but the gateway", () =>
    withLab(async (lab) => {
      const [a, b] = [await lab.pod(), await lab.pod()];
      const extra = { isGateway: true, portIsolation: true };
      await lab.add(a, extra, { lease: { ips: [{ address: "10.77.0.5/24" }] } });
      await lab.add(b, extra, { lease: { ips: [{ address: "10.77.0.6/24" }] } });
      expect(await a.ping("10.77.0.1")).toBe(true);
      expect(await a.ping("10.77.0.6", 2)).toBe(false);
    }));

  test("promiscMode makes the bridge promiscuous; without it, it is not", () =>
    withLab(async (lab) => {
      await lab.add(await lab.pod());
      expect(await linkOf(lab.host, BRIDGE)).toMatchObject({ promiscuity: 0 });
      await lab.add(await lab.pod(), { promiscMode: true });
      const bridge = await linkOf(lab.host, BRIDGE);
      expect(bridge).toMatchObject({ promiscuity: 1 });
      expect(bridge.flags).toContain("PROMISC");
    }));
});

describe("disableContainerInterface", () => {
  test("leaves the container's end down, and CHECK agrees", () =>
    withLab(async (lab) => {
      const pod = await lab.pod();
      const extra = { disableContainerInterface: true, ipam: undefined };
      const result = await lab.add(pod, extra);
      const inside = await linkOf(pod, "eth0");
      expect(inside.flags).not.toContain("UP");
      expectSuccess(await lab.check(pod, result, extra));
      await lab.del(pod, extra);
      expect(await leftovers(lab, pod)).toEqual(NOTHING);
    }));

  test("with IPAM is refused before anything is done", () =>
    withLab(async (lab) => {
      const pod = await lab.pod();
      const result = await lab.run("ADD", pod, { disableContainerInterface: true });
      expectError(result, { code: 7, msg: /cannot use IPAM when DisableContainerInterface flag is set/ });
      expect(await lab.host.links()).toEqual(["lo"]);
      expect(await lab.calls()).toEqual([]);
    }));
});

describe("dns", () => {
  const lease = {
    ips: [{ address: "10.77.0.5/24" }],
    dns: { nameservers: ["10.77.0.53"], domain: "ipam.test", search: ["a"], options: ["b"] },
  };

  test("IPAM's goes into the result [PLUG-7 RESULT-8]", () =>
    withLab(async (lab) => {
      expect(await lab.add(await lab.pod(), {}, { lease })).toMatchObject({ dns: lease.dns });
    }));

  test.each([
    ["one key", { nameservers: ["192.0.2.53"] }, { nameservers: ["192.0.2.53"] }],
    ["an empty list", { search: [] }, undefined],
  ])("the configuration's replaces it wholesale: %s", (_name, dns, expected) =>
    withLab(async (lab) => {
      expect((await lab.add(await lab.pod(), { dns }, { lease })).dns).toEqual(expected);
    }),
  );

  test("an empty object replaces nothing", () =>
    withLab(async (lab) => {
      expect(await lab.add(await lab.pod(), { dns: {} }, { lease })).toMatchObject({ dns: lease.dns });
    }));
});

describe("options of the packet filter", () => {
  test.each([
    ["ipMasqBackend", "ipfw"],
    ["ipMasq", "yes"],
    ["macspoofchk", 1],
    ["ipSpoofCheck", "yes"],
    ["nonMasqueradeCIDRs", ["10.0.0.0"]],
  ])("%s %j: refused with code 7, but DEL works", (key, value) =>
    withLab(async (lab) => {
      const pod = await lab.pod();
      const result = await lab.run("ADD", pod, { [key]: value });
      expectError(result, { code: 7, msg: new RegExp(`"${key}`) });
      expect(await lab.host.links()).toEqual(["lo"]);
      expect(await lab.calls()).toEqual([]);
      await lab.add(pod);
      await lab.del(pod, { [key]: value });
      expect(await leftovers(lab, pod)).toEqual(NOTHING);
    }),
  );
});
