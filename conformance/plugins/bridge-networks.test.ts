/**
 * A bridge whose node gets other networks: two nodes swap theirs, a network grows, an ADD was refused after it had put the
 * gateway there. Ours that nobody uses goes; what somebody uses, or somebody else put there, is named and stays.
 */
import { describe, expect, test } from "vitest";
import { expectError, expectSuccess, type JsonObject, type Netns } from "../../testbed/harness.ts";
import { addressesOf, BRIDGE, hostEnd, type Lab, linkOf, withLab } from "./bridge-lab.ts";

const GATEWAY = { isDefaultGateway: true };

const lease = (...addresses: string[]) => ({ lease: { ips: addresses.map((address) => ({ address })) } });
const OLD = lease("10.1.0.5/24", "fd01::5/64");
const NEW = lease("10.2.0.5/24", "fd02::5/64");

const hostLocal = (...subnets: string[]): JsonObject => ({
  ...GATEWAY,
  ipam: { type: "host-local", dataDir: "/run/podwire/pwt-leases", ranges: subnets.map((subnet) => [{ subnet }]) },
});

async function status(lab: Lab, pod: Netns, config: JsonObject) {
  return lab.run("STATUS", pod, config);
}

describe("two nodes swap networks", () => {
  test("the next ADD puts the new gateways in the place of the old ones", () =>
    withLab(async (lab) => {
      const [first, next] = [await lab.pod(), await lab.pod()];
      await lab.add(first, GATEWAY, OLD);
      expect(await addressesOf(lab.host, BRIDGE)).toEqual(["10.1.0.1/24", "fd01::1/64"]);
      await lab.del(first, GATEWAY);
      expectSuccess(await status(lab, next, hostLocal("10.2.0.0/24", "fd02::/64")));
      const result = await lab.add(next, GATEWAY, NEW);
      expect(await addressesOf(lab.host, BRIDGE)).toEqual(["10.2.0.1/24", "fd02::1/64"]);
      expectSuccess(await lab.check(next, result, GATEWAY));
      expect(await next.ping("10.2.0.1")).toBe(true);
      expect(await next.ping("fd02::1")).toBe(true);
    }));

  test("a container of before keeps its gateway: ADD and STATUS fail and name it until it is gone", () =>
    withLab(async (lab) => {
      const [first, next] = [await lab.pod(), await lab.pod()];
      await lab.add(first, GATEWAY, OLD);
      const msg = `failed to set bridge addr: "${BRIDGE}" already has an IP address different from 10.2.0.1/24`;
      const details = new RegExp(`it has 10.1.0.1/24: it serves pwt-net ${first.name} eth0 \\(10.1.0.5/24\\)`);
      expectError(await lab.run("ADD", next, GATEWAY, NEW), { code: 102, msg, details });
      expectError(await status(lab, next, hostLocal("10.2.0.0/24", "fd02::/64")), { code: 50, msg, details });
      expectSuccess(await status(lab, next, hostLocal("10.1.0.0/24")));
      expect(await addressesOf(lab.host, BRIDGE)).toEqual(["10.1.0.1/24", "fd01::1/64"]);
      expect(await first.ping("10.1.0.1")).toBe(true);
      await lab.del(first, GATEWAY);
      expectSuccess(await status(lab, next, hostLocal("10.2.0.0/24", "fd02::/64")));
      await lab.add(next, GATEWAY, NEW);
      expect(await addressesOf(lab.host, BRIDGE)).toEqual(["10.2.0.1/24", "fd02::1/64"]);
    }));

  test("an old IPv6 gateway, which is in nobody's way, goes with its last container", () =>
    withLab(async (lab) => {
      const [first, second, third] = [await lab.pod(), await lab.pod(), await lab.pod()];
      await lab.add(first, GATEWAY, lease("fd01::5/64"));
      await lab.add(second, GATEWAY, lease("fd02::5/64"));
      expect(await addressesOf(lab.host, BRIDGE)).toEqual(["fd01::1/64", "fd02::1/64"]);
      await lab.del(first, GATEWAY);
      await lab.add(third, GATEWAY, lease("fd02::6/64"));
      expect(await addressesOf(lab.host, BRIDGE)).toEqual(["fd02::1/64"]);
    }));

  test("with forceAddress the old IPv6 gateway goes, too", () =>
    withLab(async (lab) => {
      const config = { ...GATEWAY, forceAddress: true };
      const [first, next] = [await lab.pod(), await lab.pod()];
      await lab.add(first, config, OLD);
      await lab.del(first, config);
      await lab.add(next, config, NEW);
      expect(await addressesOf(lab.host, BRIDGE)).toEqual(["10.2.0.1/24", "fd02::1/64"]);
    }));

  test("many pods at once on the new networks", () =>
    withLab(async (lab) => {
      const first = await lab.pod();
      await lab.add(first, GATEWAY, OLD);
      await lab.del(first, GATEWAY);
      const pods = await Promise.all(Array.from({ length: 6 }, () => lab.pod()));
      const addAll = pods.map((pod, i) => lab.add(pod, GATEWAY, lease(`10.2.0.${i + 5}/24`, `fd02::${i + 5}/64`)));
      await Promise.all(addAll);
      expect(await addressesOf(lab.host, BRIDGE)).toEqual(["10.2.0.1/24", "fd02::1/64"]);
      for (const pod of pods) expect(await pod.ping("10.2.0.1")).toBe(true);
    }));
});

test("a network that grows keeps its gateway, for containers of before as well", () =>
  withLab(async (lab) => {
    const [first, next] = [await lab.pod(), await lab.pod()];
    const result = await lab.add(first, GATEWAY, lease("10.1.0.5/24", "fd01::5/64"));
    await lab.add(next, GATEWAY, lease("10.1.3.5/21", "fd01::1:5/48"));
    expect(await addressesOf(lab.host, BRIDGE)).toEqual(["10.1.0.1/21", "fd01::1/48"]);
    expect(await first.ping("10.1.0.1")).toBe(true);
    expect(await first.ping("fd01::1")).toBe(true);
    expectSuccess(await lab.check(first, result, GATEWAY));
  }));

describe("what Podwire has not put there, or cannot see into", () => {
  test("somebody's address on the bridge stays an error, in STATUS as in ADD", () =>
    withLab(async (lab) => {
      const pod = await lab.pod();
      await lab.host.ip("link", "add", BRIDGE, "type", "bridge");
      await lab.host.ip("address", "add", "10.9.0.1/24", "dev", BRIDGE);
      const details = /^it has 10\.9\.0\.1\/24: the subnet was changed while the bridge was in use/;
      expectError(await lab.run("ADD", pod, GATEWAY, NEW), { code: 102, details });
      expectError(await status(lab, pod, hostLocal("10.2.0.0/24")), { code: 50, details });
      expectSuccess(await status(lab, pod, { ...hostLocal("10.2.0.0/24"), forceAddress: true }));
      expect(await addressesOf(lab.host, BRIDGE)).toEqual(["10.9.0.1/24"]);
    }));

  test("somebody's IPv6 address stays, also with forceAddress", () =>
    withLab(async (lab) => {
      const [first, next] = [await lab.pod(), await lab.pod()];
      const config = { ...GATEWAY, forceAddress: true };
      await lab.add(first, config, OLD);
      await lab.host.ip("address", "add", "fd09::1/64", "dev", BRIDGE);
      await lab.del(first, config);
      await lab.add(next, config, NEW);
      expect(await addressesOf(lab.host, BRIDGE)).toEqual(["10.2.0.1/24", "fd02::1/64", "fd09::1/64"]);
    }));

  test("a port that is no veth may have anybody behind it", () =>
    withLab(async (lab) => {
      const [first, next] = [await lab.pod(), await lab.pod()];
      await lab.add(first, GATEWAY, OLD);
      await lab.del(first, GATEWAY);
      await lab.host.ip("link", "add", "wire", "type", "veth", "peer", "name", "wire-end");
      await lab.host.ip("link", "add", "link", "wire-end", "name", "mac0", "type", "macvlan");
      for (const link of ["wire", "wire-end", "mac0"]) await lab.host.ip("link", "set", link, "up");
      await lab.host.ip("link", "set", "mac0", "master", BRIDGE);
      const details = /it serves mac0, behind which Podwire cannot look/;
      expectError(await lab.run("ADD", next, GATEWAY, NEW), { code: 102, details });
      await lab.host.ip("link", "delete", "mac0");
      await lab.add(next, GATEWAY, NEW);
    }));

  test("a container without addresses may be a user of it", () =>
    withLab(async (lab) => {
      const [first, silent, next] = [await lab.pod(), await lab.pod(), await lab.pod()];
      await lab.add(first, GATEWAY, OLD);
      await lab.add(silent, { ...GATEWAY, ipam: undefined });
      await lab.del(first, GATEWAY);
      const details = new RegExp(`it serves pwt-net ${silent.name} eth0 \\(without an address that shows\\)`);
      expectError(await lab.run("ADD", next, GATEWAY, NEW), { code: 102, details });
    }));
});

describe("the MAC of a bridge that was there before", () => {
  const macOf = async (lab: Lab): Promise<unknown> => (await linkOf(lab.host, BRIDGE)).address;

  test("does not change when ports come and go", () =>
    withLab(async (lab) => {
      await lab.host.ip("link", "add", BRIDGE, "type", "bridge");
      await lab.host.ip("link", "set", BRIDGE, "up");
      const pods = await Promise.all([lab.pod(), lab.pod(), lab.pod()]);
      const macs: unknown[] = [];
      for (const pod of pods) {
        await lab.add(pod, GATEWAY);
        macs.push(await macOf(lab));
      }
      for (const pod of pods.slice(1)) {
        await lab.del(pod, GATEWAY);
        macs.push(await macOf(lab));
      }
      await lab.host.ip(
        "link",
        "add",
        "low",
        "address",
        "02:00:00:00:00:01",
        "type",
        "veth",
        "peer",
        "name",
        "low-end",
      );
      await lab.host.ip("link", "set", "low", "master", BRIDGE);
      macs.push(await macOf(lab));
      expect(new Set(macs).size).toBe(1);
    }));

  test("is the node's own, not its first port's, if nobody can have known it", () =>
    withLab(async (lab) => {
      const pod = await lab.pod();
      await lab.host.ip("link", "add", BRIDGE, "type", "bridge");
      const result = await lab.add(pod, GATEWAY);
      expect(await macOf(lab)).not.toBe((await linkOf(lab.host, hostEnd(result))).address);
      expect((result.interfaces as JsonObject[])[0]).toMatchObject({ name: BRIDGE, mac: await macOf(lab) });
    }));

  test("that somebody has set stays", () =>
    withLab(async (lab) => {
      const pod = await lab.pod();
      await lab.host.ip("link", "add", BRIDGE, "address", "02:00:00:00:00:77", "type", "bridge");
      await lab.add(pod, GATEWAY);
      expect(await macOf(lab)).toBe("02:00:00:00:00:77");
    }));

  test("is kept where the gateway's address was there, too, and others know it", () =>
    withLab(async (lab) => {
      const [first, second] = [await lab.pod(), await lab.pod()];
      await lab.host.ip("link", "add", BRIDGE, "type", "bridge");
      await lab.host.ip("address", "add", "10.1.0.1/24", "dev", BRIDGE);
      await lab.host.ip("link", "set", BRIDGE, "up");
      const mac = await macOf(lab);
      await lab.add(first, GATEWAY, lease("10.1.0.5/24"));
      expect(await macOf(lab)).toBe(mac);
      await lab.add(second, GATEWAY, lease("10.1.0.6/24"));
      await lab.del(first, GATEWAY);
      expect(await macOf(lab)).toBe(mac);
    }));

  test("of a bridge without a gateway is left to the kernel", () =>
    withLab(async (lab) => {
      const pod = await lab.pod();
      await lab.host.ip("link", "add", BRIDGE, "type", "bridge");
      const result = await lab.add(pod);
      expect(await macOf(lab)).toBe((await linkOf(lab.host, hostEnd(result))).address);
    }));
});
