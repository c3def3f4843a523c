/** Forwarding, what other hosts learn of a new address, and nodes without IPv6. */
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { execa } from "execa";
import { describe, expect, test } from "vitest";
import {
  binDirectory,
  callEnvironment,
  expectError,
  expectSuccess,
  type JsonObject,
  until,
} from "../../testbed/harness.ts";
import { addressesOf, BRIDGE, capture, type Lab, leftovers, NOTHING, withLab } from "./bridge-lab.ts";

const V4 = { ips: [{ address: "10.77.0.5/24" }] };
const V6 = { ips: [{ address: "fd77::5/64" }] };
const DUAL = { ips: [...V4.ips, ...V6.ips] };
const GATEWAY = { isGateway: true };

describe("forwarding", () => {
  const IP_FORWARD = "net/ipv4/ip_forward";
  const IPV6_FORWARDING = "net/ipv6/conf/all/forwarding";

  test.each([
    ["IPv4 only", V4, "1", "0"],
    ["IPv6 only", V6, "0", "1"],
    ["both", DUAL, "1", "1"],
  ])("is turned on for the families in use: %s", (_name, lease, v4, v6) =>
    withLab(async (lab) => {
      await lab.add(await lab.pod(), GATEWAY, { lease });
      expect(await lab.host.sysctl(IP_FORWARD)).toBe(v4);
      expect(await lab.host.sysctl(IPV6_FORWARDING)).toBe(v6);
    }),
  );

  /** The host has learned its default route on one uplink, and only an on-link prefix on the other. */
  async function uplinks(lab: Lab): Promise<void> {
    for (const name of ["up0", "up1"]) {
      await lab.host.ip("link", "add", name, "type", "veth", "peer", "name", `${name}p`);
      await lab.host.ip("link", "set", name, "up");
      await lab.host.ip("link", "set", `${name}p`, "up");
    }
    await lab.host.ip("-6", "route", "add", "default", "via", "fe80::1", "dev", "up0", "proto", "ra");
    await lab.host.ip("-6", "route", "add", "2001:db8:1::/64", "dev", "up1", "proto", "ra");
  }

  test("a host that learned its default route from a router keeps learning", () =>
    withLab(async (lab) => {
      await uplinks(lab);
      await lab.add(await lab.pod(), GATEWAY, { lease: V6 });
      expect(await lab.host.sysctl("net/ipv6/conf/up0/accept_ra")).toBe("2");
      expect(await lab.host.sysctl("net/ipv6/conf/up1/accept_ra")).toBe("1");
      expect(await lab.host.exec("ip", ["-6", "route", "show", "default"])).toContain("via fe80::1 dev up0 proto ra");
    }));

  test("unless somebody had switched that off", () =>
    withLab(async (lab) => {
      await uplinks(lab);
      await lab.host.exec("sh", ["-c", "echo 0 > /proc/sys/net/ipv6/conf/up0/accept_ra"]);
      await lab.add(await lab.pod(), GATEWAY, { lease: V6 });
      expect(await lab.host.sysctl("net/ipv6/conf/up0/accept_ra")).toBe("0");
    }));

  test("IPv4 pods change nothing of it", () =>
    withLab(async (lab) => {
      await uplinks(lab);
      await lab.add(await lab.pod(), GATEWAY, { lease: V4 });
      expect(await lab.host.sysctl("net/ipv6/conf/up0/accept_ra")).toBe("1");
    }));
});

describe("the announcement", () => {
  test("a gratuitous ARP and an unsolicited neighbour advertisement reach the other pods and the bridge", () =>
    withLab(async (lab) => {
      const other = await lab.pod();
      await lab.add(other, GATEWAY, { lease: { ips: [{ address: "10.77.0.9/24" }, { address: "fd77::9/64" }] } });
      const inPod = await capture(other, "eth0", "-v", "arp or icmp6");
      const onBridge = await capture(lab.host, BRIDGE, "-p", "-v", "arp or icmp6");
      const result = await lab.add(await lab.pod(), GATEWAY, { lease: DUAL });
      const mac = String((result.interfaces as JsonObject[])[2]?.mac);
      for (const seen of [inPod, onBridge]) {
        const arp = await seen.seen(/ARP.*Request who-has 10\.77\.0\.5.* tell 10\.77\.0\.5/);
        const na = await seen.seen(/neighbor advertisement.*tgt is fd77::5/);
        const lines = (await seen.stop()).join("\n");
        expect(arp, lines).toBe(true);
        expect(na, lines).toBe(true);
        expect(lines).toContain(mac);
      }
    }));

  test("a pod that knew an earlier holder of the addresses reaches the new one at once", () =>
    withLab(async (lab) => {
      const [other, first, second] = [await lab.pod(), await lab.pod(), await lab.pod()];
      await lab.add(other, GATEWAY, { lease: { ips: [{ address: "10.77.0.9/24" }, { address: "fd77::9/64" }] } });
      await lab.add(first, GATEWAY, { lease: DUAL });
      expect(await other.ping("10.77.0.5")).toBe(true);
      expect(await other.ping("fd77::5")).toBe(true);
      await lab.del(first, GATEWAY);
      const result = await lab.add(second, GATEWAY, { lease: DUAL });
      const mac = (result.interfaces as JsonObject[])[2]?.mac;
      const learned = async (address: string) => {
        const neighbours = await other.query("neigh", "show", "to", address, "dev", "eth0");
        return neighbours.some((entry) => entry.lladdr === mac);
      };
      expect(await until(() => learned("10.77.0.5"), 1000)).toBe(true);
      expect(await until(() => learned("fd77::5"), 1000)).toBe(true);
      expect(await other.ping("10.77.0.5")).toBe(true);
      expect(await other.ping("fd77::5")).toBe(true);
    }));

  test("the host forgets who had the addresses before", () =>
    withLab(async (lab) => {
      await lab.add(await lab.pod(), GATEWAY, {
        lease: { ips: [{ address: "10.77.0.9/24" }, { address: "fd77::9/64" }] },
      });
      const stale = "02:de:ad:be:ef:01";
      for (const address of ["10.77.0.5", "fd77::5", "10.77.0.6"]) {
        await lab.host.ip("neigh", "replace", address, "lladdr", stale, "dev", BRIDGE, "nud", "permanent");
      }
      const pod = await lab.pod();
      await lab.add(pod, GATEWAY, { lease: DUAL });
      const neighbours = await lab.host.query("neigh", "show", "dev", BRIDGE);
      const holders = neighbours.filter((entry) => entry.lladdr === stale).map((entry) => entry.dst);
      /* Only the new pod's addresses: the third entry is somebody else's. */
      expect(holders).toEqual(["10.77.0.6"]);
      expect(await lab.host.ping("10.77.0.5")).toBe(true);
      expect(await lab.host.ping("fd77::5")).toBe(true);
    }));

  test("the port forwards when ADD returns: no frame of the pod is lost", () =>
    withLab(async (lab) => {
      const pod = await lab.pod();
      const result = await lab.add(pod, GATEWAY, { lease: V4 });
      const name = String((result.interfaces as JsonObject[])[1]?.name);
      const links = JSON.parse(await lab.host.exec("bridge", ["-j", "link", "show"])) as JsonObject[];
      expect(links.find((link) => link.ifname === name)).toMatchObject({ state: "forwarding", master: BRIDGE });
    }));
});

describe("a kernel without IPv6", () => {
  /** Calls the plugin where /proc/sys/net/ipv6 is empty, as with ipv6.disable=1. */
  async function withoutIpv6(lab: Lab, command: string, pod: Awaited<ReturnType<Lab["pod"]>>, extra: JsonObject) {
    const path = lab.path;
    const options = { plugin: "bridge", command, containerId: pod.name, netns: pod.path, ifname: "eth0", path };
    const inner = 'mount -t tmpfs none /proc/sys/net && mkdir -p /proc/sys/net && exec "$0"';
    const hidden = join(lab.sandbox.directory, "net");
    await mkdir(hidden, { recursive: true });
    const script = `mount --bind /proc/sys/net "${hidden}" && ${inner.replace("exec", `ln -s "${hidden}/ipv4" /proc/sys/net/ipv4 && exec`)}`;
    const result = await execa(
      "nsenter",
      [`--net=${lab.host.path}`, "--", "unshare", "--mount", "sh", "-c", script, join(binDirectory, "bridge")],
      {
        env: callEnvironment(options, binDirectory),
        extendEnv: false,
        input: JSON.stringify(lab.config(extra)),
        reject: false,
      },
    );
    const json = result.stdout === "" ? undefined : (JSON.parse(result.stdout) as JsonObject);
    return {
      ...options,
      exitCode: result.exitCode ?? null,
      signal: null,
      stdout: result.stdout,
      stderr: result.stderr,
      json,
      durationMs: 0,
    };
  }

  test("serves IPv4", () =>
    withLab(async (lab) => {
      const pod = await lab.pod();
      await lab.answer(`${pod.name}.eth0`, V4);
      const result = expectSuccess(await withoutIpv6(lab, "ADD", pod, { isDefaultGateway: true }));
      expect(await addressesOf(pod, "eth0")).toEqual(["10.77.0.5/24"]);
      expect(await pod.ping("10.77.0.1")).toBe(true);
      expect(await lab.host.sysctl("net/ipv4/ip_forward")).toBe("1");
      const check = { isDefaultGateway: true, prevResult: result };
      expectSuccess(await withoutIpv6(lab, "CHECK", pod, check));
      expectSuccess(await withoutIpv6(lab, "DEL", pod, { isDefaultGateway: true }));
      expect(await leftovers(lab, pod)).toEqual(NOTHING);
    }));

  test.each([
    ["IPv6", V6],
    ["both families", DUAL],
  ])("refuses %s clearly and keeps nothing", (_name, lease) =>
    withLab(async (lab) => {
      const pod = await lab.pod();
      await lab.answer(`${pod.name}.eth0`, lease);
      const result = await withoutIpv6(lab, "ADD", pod, GATEWAY);
      expectError(result, {
        code: 100,
        msg: "this kernel has no IPv6, but stubipam gave fd77::5/64",
        details: /\/proc\/sys\/net\/ipv6 is missing.*remove the IPv6 ranges/,
      });
      expect(await leftovers(lab, pod)).toEqual(NOTHING);
      expect(await lab.calls()).toEqual([`ADD ${pod.name}.eth0`, `DEL ${pod.name}.eth0`]);
    }),
  );
});
