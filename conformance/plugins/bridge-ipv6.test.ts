/** IPv6: addresses usable at once, no router believed, and hosts and containers in which it is switched off. */
import { describe, expect, test } from "vitest";
import { expectError, expectSuccess, type JsonObject, until } from "../../testbed/harness.ts";
import { addressesOf, BRIDGE, hostEnd, type linkOf, withLab } from "./bridge-lab.ts";

describe("IPv6", () => {
  const dual = { lease: { ips: [{ address: "10.77.0.5/24" }, { address: "fd77::5/64" }] } };
  const flagsOf = async (namespace: Parameters<typeof linkOf>[0], link: string): Promise<JsonObject[]> => {
    const [found] = await namespace.query("-6", "address", "show", "dev", link);
    return ((found?.addr_info ?? []) as JsonObject[]).filter((info) => info.scope === "global");
  };

  test("addresses are usable at once, on both sides, without waiting for duplicates to be looked for", () =>
    withLab(async (lab) => {
      const pod = await lab.pod();
      const result = await lab.run("ADD", pod, { isGateway: true }, dual);
      const [inside] = await flagsOf(pod, "eth0");
      const [gateway] = await flagsOf(lab.host, BRIDGE);
      expectSuccess(result);
      for (const address of [inside, gateway]) {
        expect(address).toMatchObject({ nodad: true });
        expect(address?.tentative).toBeUndefined();
      }
      expect(result.durationMs).toBeLessThan(900);
      expect(await pod.sysctl("net/ipv6/conf/eth0/accept_dad")).toBe("0");
    }));

  test("enabledad: duplicates are looked for", () =>
    withLab(async (lab) => {
      const pod = await lab.pod();
      const result = await lab.add(pod, { isGateway: true, enabledad: true }, dual);
      expect((await flagsOf(pod, "eth0"))[0]?.nodad).toBeUndefined();
      expect(await pod.sysctl("net/ipv6/conf/eth0/accept_dad")).toBe("1");
      expect(await pod.sysctl("net/ipv6/conf/eth0/enhanced_dad")).toBe("1");
      expect(await until(async () => (await flagsOf(pod, "eth0"))[0]?.tentative === undefined, 5000)).toBe(true);
      expectSuccess(await lab.check(pod, result, { isGateway: true, enabledad: true }));
    }));

  test("enabledad finds a duplicate, and CHECK tells", () =>
    withLab(async (lab) => {
      const [a, b] = [await lab.pod(), await lab.pod()];
      await lab.add(a, {}, { lease: { ips: [{ address: "fd77::5/64" }] } });
      const result = await lab.add(b, { enabledad: true }, { lease: { ips: [{ address: "fd77::5/64" }] } });
      expect(await until(async () => (await flagsOf(b, "eth0"))[0]?.dadfailed === true, 5000)).toBe(true);
      const check = await lab.check(b, result, { enabledad: true });
      expectError(check, { code: 101, msg: /fd77::5\/64 on eth0 is a duplicate/ });
    }));

  test("no router advertisement is believed, on either side", () =>
    withLab(async (lab) => {
      const pod = await lab.pod();
      await lab.host.exec("sh", ["-c", "echo 2 > /proc/sys/net/ipv6/conf/default/accept_ra"]);
      await pod.exec("sh", ["-c", "echo 2 > /proc/sys/net/ipv6/conf/default/accept_ra"]);
      const result = await lab.add(pod);
      for (const [namespace, link] of [
        [lab.host, BRIDGE],
        [lab.host, hostEnd(result)],
        [pod, "eth0"],
      ] as const) {
        for (const key of ["accept_ra", "autoconf"]) {
          expect(await namespace.sysctl(`net/ipv6/conf/${link}/${key}`), `${link} ${key}`).toBe("0");
        }
      }
    }));

  test("a container in which it was switched off gets it when it gets an address", () =>
    withLab(async (lab) => {
      const pod = await lab.pod();
      await pod.exec("sh", [
        "-c",
        "for i in all default lo; do echo 1 > /proc/sys/net/ipv6/conf/$i/disable_ipv6; done",
      ]);
      await lab.add(pod, {}, dual);
      expect(await addressesOf(pod, "eth0")).toEqual(["10.77.0.5/24", "fd77::5/64"]);
      expect(await pod.sysctl("net/ipv6/conf/eth0/disable_ipv6")).toBe("0");
      expect(await pod.sysctl("net/ipv6/conf/eth0/keep_addr_on_down")).toBe("1");
    }));

  test("and is left alone when it gets none", () =>
    withLab(async (lab) => {
      const pod = await lab.pod();
      await pod.exec("sh", ["-c", "echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6"]);
      await lab.add(pod);
      expect(await pod.sysctl("net/ipv6/conf/eth0/disable_ipv6")).toBe("1");
    }));

  test("the host's bridge in a host where new links have IPv6 switched off still gets its gateway address", () =>
    withLab(async (lab) => {
      const pod = await lab.pod();
      await lab.host.exec("sh", ["-c", "echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6"]);
      await lab.add(pod, { isGateway: true }, dual);
      expect(await addressesOf(lab.host, BRIDGE)).toEqual(["10.77.0.1/24", "fd77::1/64"]);
      expect(await pod.ping("fd77::1")).toBe(true);
    }));
});
