/** ptp: DEL, GC, STATUS and CHECK. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { execa } from "execa";
import { describe, expect, test } from "vitest";
import { expectError, expectSuccess, type JsonObject, type Netns } from "../../testbed/harness.ts";
import { type Lab, type LabOptions, leftovers, NOTHING, withLab } from "./bridge-lab.ts";
import { add, check, del, hostEnd, LEASE6, run } from "./ptp-lab.ts";

describe("DEL leaves nothing", () => {
  const MASQUERADED = { ipMasq: true, ipSpoofCheck: true };
  test.each<[string, (lab: Lab, pod: Netns) => Promise<readonly [JsonObject, LabOptions]>]>([
    ["with everything as it was", async () => [MASQUERADED, {}]],
    ["without a namespace", async () => [MASQUERADED, { netns: "" }]],
    ["with a path where nothing is", async () => [MASQUERADED, { netns: "/run/netns/pwt-nowhere" }]],
    [
      "with a plain file for a namespace",
      async (lab) => {
        const file = join(lab.sandbox.directory, "plain");
        await writeFile(file, "");
        return [MASQUERADED, { netns: file }];
      },
    ],
    ["with the namespace of another pod", async (lab) => [MASQUERADED, { netns: (await lab.pod()).path }]],
    [
      "with a namespace that died",
      async (_lab, pod) => {
        await execa("ip", ["netns", "del", pod.name]);
        return [MASQUERADED, {}];
      },
    ],
    ["without options that ADD had", async () => [{}, {}]],
    ["with a configuration that ADD would refuse", async () => [{ ...MASQUERADED, mtu: 5, ipMasqBackend: "x" }, {}]],
    ["with a prevResult of no use", async () => [{ ...MASQUERADED, prevResult: { cniVersion: "0.2.0", ips: 5 } }, {}]],
    [
      "after the container renamed its interface",
      async (_lab, pod) => {
        await pod.ip("link", "set", "eth0", "down");
        await pod.ip("link", "set", "eth0", "name", "wan0");
        return [MASQUERADED, {}];
      },
    ],
    [
      "after the container removed its interface",
      async (_lab, pod) => {
        await pod.ip("link", "delete", "eth0");
        return [MASQUERADED, {}];
      },
    ],
  ])("%s, three times in a row", (_name, prepare) =>
    withLab(async (lab) => {
      const pod = await lab.pod();
      await add(lab, pod, MASQUERADED);
      const [extra, options] = await prepare(lab, pod);
      for (let i = 0; i < 3; i += 1) {
        await del(lab, pod, extra, options);
        expect(await leftovers(lab, null), `DEL ${i + 1}`).toEqual(NOTHING);
        expect(await lab.host.exec("nft", ["list", "ruleset"])).not.toContain(pod.name);
      }
    }),
  );

  test("late, without taking the interface of the namespace's next attachment", () =>
    withLab(async (lab) => {
      const pod = await lab.pod();
      await add(lab, pod, {}, { containerId: "first" });
      await del(lab, pod, {}, { containerId: "first" });
      const result = await add(lab, pod, {}, { containerId: "second" });
      await del(lab, pod, {}, { containerId: "first" });
      expectSuccess(await check(lab, pod, result, {}, { containerId: "second" }));
    }));
});

test("GC removes what belongs to nobody, and without a list nothing", () =>
  withLab(async (lab) => {
    const [kept, stale] = [await lab.pod(), await lab.pod()];
    const config = { ipMasq: true, ipSpoofCheck: true };
    const result = await add(lab, kept, config);
    await add(lab, stale, config, { lease: LEASE6 });
    expectSuccess(await run(lab, "GC", kept, config));
    expect(await stale.links()).toContain("eth0");
    const valid = { "cni.dev/valid-attachments": [{ containerID: kept.name, ifname: "eth0" }] };
    expectSuccess(await run(lab, "GC", kept, { ...config, ...valid }));
    expect([await kept.links(), await stale.links()]).toEqual([["eth0", "lo"], ["lo"]]);
    expect(await lab.host.exec("nft", ["list", "ruleset"])).not.toContain(stale.name);
    expectSuccess(await check(lab, kept, result, config));
    expectSuccess(await run(lab, "GC", kept, { ...config, "cni.dev/valid-attachments": [] }));
    expect(await lab.host.links()).toEqual(["lo"]);
  }));

test("STATUS asks IPAM, and is content where ADD works", () =>
  withLab(async (lab) => {
    const pod = await lab.pod();
    expectSuccess(await run(lab, "STATUS", pod, { ipMasq: true }));
    expectError(await run(lab, "STATUS", pod, { ipam: { type: "no-such-plugin" } }), { code: 50 });
    expectError(await run(lab, "STATUS", pod, { ipam: undefined }), { code: 7, msg: /^no plugin name provided$/ });
  }));

describe("CHECK finds what somebody changed", () => {
  const CONFIG = { ipMasq: true, ipMasqBackend: "nftables", ipSpoofCheck: true };
  test.each<[string, (lab: Lab, pod: Netns, host: string) => Promise<unknown>, RegExp]>([
    [
      "the container's address",
      (_, pod) => pod.ip("address", "del", "10.77.0.5/24", "dev", "eth0"),
      /lacks the address 10.77.0.5\/24/,
    ],
    [
      "the route to the gateway",
      (_, pod) => pod.ip("route", "flush", "table", "main"),
      /route 10.77.0.1\/32 is missing on eth0/,
    ],
    ["a route of IPAM", (_, pod) => pod.ip("route", "del", "default"), /route 0.0.0.0\/0 via 10.77.0.1 is missing/],
    [
      "the container's MAC",
      (_, pod) => pod.ip("link", "set", "eth0", "address", "02:00:00:00:00:09"),
      /eth0 has MAC 02:00:00:00:00:09/,
    ],
    [
      "the host's MTU",
      (lab, _, host) => lab.host.ip("link", "set", host, "mtu", "1300"),
      /has MTU 1300, expected 1500/,
    ],
    ["the host's end is down", (lab, _, host) => lab.host.ip("link", "set", host, "down"), /veth\S+ is down/],
    [
      "the host's address",
      (lab, _, host) => lab.host.ip("address", "del", "10.77.0.1/32", "dev", host),
      /veth\S+ lacks the address 10.77.0.1\/32/,
    ],
    [
      "the host's route",
      (lab) => lab.host.ip("route", "del", "10.77.0.5"),
      /^the host's route to 10.77.0.5 leads nowhere, expected veth/,
    ],
    [
      "the host's IPv6 route",
      (lab) => lab.host.ip("-6", "route", "del", "fd77::5"),
      /^the host's route to fd77::5 leads nowhere/,
    ],
    [
      "forwarding",
      (lab) => lab.host.exec("sysctl", ["-qw", "net.ipv4.ip_forward=0"]),
      /IPv4 forwarding is off on the host/,
    ],
    ["the interface is gone", (_, pod) => pod.ip("link", "del", "eth0"), /eth0 is missing in the container/],
    [
      "the host's end became a port",
      async (lab, _, host) => {
        await lab.host.ip("link", "add", "pwt9", "type", "bridge");
        await lab.host.ip("link", "set", host, "master", "pwt9");
      },
      /has become a port of another link/,
    ],
    ["the source check", (lab) => lab.host.exec("nft", ["flush", "set", "inet", "podwire", "sources4"]), /sources4/],
    ["masquerading", (lab) => lab.host.exec("nft", ["flush", "map", "inet", "podwire", "masquerade4"]), /masquerade4/],
  ])("%s", (_name, spoil, msg) =>
    withLab(async (lab) => {
      const pod = await lab.pod();
      const result = await add(lab, pod, CONFIG);
      expectSuccess(await check(lab, pod, result, CONFIG));
      await spoil(lab, pod, hostEnd(result));
      expectError(await check(lab, pod, result, CONFIG), { code: 101, msg });
    }),
  );

  test("and puts rules back after a flush", () =>
    withLab(async (lab) => {
      const pod = await lab.pod();
      const result = await add(lab, pod, CONFIG);
      await lab.host.exec("nft", ["flush", "ruleset"]);
      expectError(await check(lab, pod, result, CONFIG), { code: 101, details: /it has been put back/ });
      expectSuccess(await check(lab, pod, result, CONFIG));
    }));
});
