/** CHECK: what ADD made and somebody broke, one by one; and what is no business of CHECK's. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { expectError, expectSuccess, type JsonObject, type Netns } from "../../testbed/harness.ts";
import { BRIDGE, capture, hostEnd, Lab, linkOf, withLab } from "./bridge-lab.ts";

const CONFIG = { isDefaultGateway: true, mtu: 1400 };
const LEASE = {
  ips: [{ address: "10.77.0.5/24" }, { address: "fd77::5/64" }],
  routes: [
    { dst: "192.0.2.0/24", gw: "10.77.0.9", priority: 10, mtu: 1300, advmss: 1200 },
    { dst: "198.51.100.0/24", table: 100 },
    { dst: "2001:db8::/32", gw: "fd77::9", priority: 10, mtu: 1300 },
  ],
};

interface Attached {
  readonly lab: Lab;
  readonly pod: Netns;
  readonly result: JsonObject;
  /** The host end's name. */
  readonly port: string;
}

/** Runs a test with a pod attached. */
async function attached(extra: JsonObject, run: (attached: Attached) => Promise<void>): Promise<void> {
  await withLab(async (lab) => {
    const pod = await lab.pod();
    const config = { ...CONFIG, ...extra };
    const result = await lab.add(pod, config, { lease: LEASE });
    expectSuccess(await lab.check(pod, result, config));
    await run({ lab, pod, result, port: hostEnd(result) });
  });
}

type Break = (attached: Attached) => Promise<unknown>;

const BREAKAGES: readonly (readonly [string, Break, RegExp])[] = [
  ["the bridge is down", ({ lab }) => lab.host.ip("link", "set", BRIDGE, "down"), /^bridge pwt0 is down$/],
  ["the bridge is gone", ({ lab }) => lab.host.ip("link", "delete", BRIDGE), /^bridge pwt0 is missing$/],
  [
    "the bridge is something else",
    async ({ lab }) => {
      await lab.host.ip("link", "delete", BRIDGE);
      await lab.host.ip("link", "add", BRIDGE, "type", "veth", "peer", "name", "other");
    },
    /^pwt0 is a veth, not a bridge$/,
  ],
  ["the host end is down", ({ lab, port }) => lab.host.ip("link", "set", port, "down"), /^host link veth\w+ is down$/],
  [
    "the host end is in no bridge",
    ({ lab, port }) => lab.host.ip("link", "set", port, "nomaster"),
    /^veth\w+ is no port of bridge pwt0$/,
  ],
  [
    "the host end is in another bridge",
    async ({ lab, port }) => {
      await lab.host.ip("link", "add", "pwt1", "type", "bridge");
      await lab.host.ip("link", "set", port, "master", "pwt1");
    },
    /^veth\w+ is no port of bridge pwt0 but of another link$/,
  ],
  [
    "the host end has another name",
    async ({ lab, port }) => {
      await lab.host.rename(port, "renamed");
    },
    /^the host end of eth0 is renamed, expected veth\w+$/,
  ],
  [
    "the host end has another MTU",
    ({ lab, port }) => lab.host.ip("link", "set", port, "mtu", "1399"),
    /^veth\w+ has MTU 1399, expected 1400$/,
  ],
  [
    "the host end has another Ethernet address",
    ({ lab, port }) => lab.host.ip("link", "set", port, "address", "02:00:00:00:00:99"),
    /^veth\w+ has MAC 02:00:00:00:00:99, expected /,
  ],
  [
    "isolation is on",
    ({ lab, port }) => lab.host.exec("bridge", ["link", "set", "dev", port, "isolated", "on"]),
    /^veth\w+ has isolation on, expected off$/,
  ],
  [
    "the port is disabled",
    ({ lab, port }) => lab.host.exec("bridge", ["link", "set", "dev", port, "state", "0"]),
    /^veth\w+ forwards nothing: its state in the bridge is disabled$/,
  ],
  ["the container's link is gone", ({ pod }) => pod.ip("link", "delete", "eth0"), /^eth0 is missing in the container$/],
  [
    "the container's link is something else",
    async ({ pod }) => {
      await pod.ip("link", "delete", "eth0");
      await pod.ip("link", "add", "eth0", "type", "bridge");
    },
    /^eth0 in the container is a bridge, not a veth$/,
  ],
  [
    "the container's link has another peer",
    async ({ pod }) => {
      await pod.ip("link", "delete", "eth0");
      await pod.ip("link", "add", "eth0", "mtu", "1400", "type", "veth", "peer", "name", "eth9");
    },
    /^eth0 has MAC|^the host end of eth0 is missing$/,
  ],
  ["the container's link is down", ({ pod }) => pod.ip("link", "set", "eth0", "down"), /^eth0 is down$/],
  [
    "the container's link has another Ethernet address",
    ({ pod }) => pod.ip("link", "set", "eth0", "address", "02:00:00:00:00:99"),
    /^eth0 has MAC 02:00:00:00:00:99, expected /,
  ],
  [
    "the container's link has another MTU",
    ({ pod }) => pod.ip("link", "set", "eth0", "mtu", "1399"),
    /^eth0 has MTU 1399, expected 1400$/,
  ],
  [
    "the IPv4 address is gone",
    ({ pod }) => pod.ip("address", "delete", "10.77.0.5/24", "dev", "eth0"),
    /^eth0 lacks the address 10\.77\.0\.5\/24, it has: fd77::5\/64 fe80::/,
  ],
  [
    "the IPv6 address is gone",
    ({ pod }) => pod.ip("address", "delete", "fd77::5/64", "dev", "eth0"),
    /^eth0 lacks the address fd77::5\/64/,
  ],
  [
    "the address has another prefix length",
    async ({ pod }) => {
      await pod.ip("address", "add", "10.77.0.5/16", "dev", "eth0");
      await pod.ip("address", "delete", "10.77.0.5/24", "dev", "eth0");
    },
    /^eth0 lacks the address 10\.77\.0\.5\/24, it has: 10\.77\.0\.5\/16/,
  ],
  [
    "the default route is gone",
    ({ pod }) => pod.ip("route", "delete", "default"),
    /^the route 0\.0\.0\.0\/0 via 10\.77\.0\.1 is missing on eth0$/,
  ],
  [
    "the IPv6 default route is gone",
    ({ pod }) => pod.ip("-6", "route", "delete", "default"),
    /^the route ::\/0 via fd77::1 is missing on eth0$/,
  ],
  [
    "a route is gone",
    ({ pod }) => pod.ip("route", "delete", "192.0.2.0/24"),
    /^the route 192\.0\.2\.0\/24 via 10\.77\.0\.9 is missing on eth0$/,
  ],
  [
    "a route has another gateway",
    ({ pod }) => pod.ip("route", "replace", "default", "via", "10.77.0.8"),
    /^the route 0\.0\.0\.0\/0 via 10\.77\.0\.1 on eth0 has gateway 10\.77\.0\.8$/,
  ],
  [
    "a route has another MTU",
    ({ pod }) => replaceRoute(pod, "mtu", "1299", "advmss", "1200"),
    /^the route 192\.0\.2\.0\/24 .* has mtu 1299, expected 1300$/,
  ],
  [
    "a route has another advmss",
    ({ pod }) => replaceRoute(pod, "mtu", "1300", "advmss", "1199"),
    /^the route 192\.0\.2\.0\/24 .* has advmss 1199, expected 1200$/,
  ],
  [
    "a route has another priority",
    async ({ pod }) => {
      await pod.ip("route", "delete", "192.0.2.0/24");
      await pod.ip("route", "add", "192.0.2.0/24", "via", "10.77.0.9", "metric", "11", "mtu", "1300", "advmss", "1200");
    },
    /^the route 192\.0\.2\.0\/24 .* has priority 11, expected 10$/,
  ],
  [
    "a route of another table is gone",
    ({ pod }) => pod.ip("route", "delete", "198.51.100.0/24", "table", "100"),
    /^the route 198\.51\.100\.0\/24 via 10\.77\.0\.1 is missing on eth0$/,
  ],
  [
    "a route is in another table",
    async ({ pod }) => {
      await pod.ip("route", "delete", "198.51.100.0/24", "table", "100");
      await pod.ip("route", "add", "198.51.100.0/24", "via", "10.77.0.1");
    },
    /^the route 198\.51\.100\.0\/24 via 10\.77\.0\.1 is missing on eth0$/,
  ],
  [
    "the IPv4 gateway's address is gone",
    ({ lab }) => lab.host.ip("address", "delete", "10.77.0.1/24", "dev", BRIDGE),
    /^pwt0 lacks the gateway's address 10\.77\.0\.1\/24$/,
  ],
  [
    "the IPv6 gateway's address is gone",
    ({ lab }) => lab.host.ip("address", "delete", "fd77::1/64", "dev", BRIDGE),
    /^pwt0 lacks the gateway's address fd77::1\/64$/,
  ],
  [
    "IPv4 forwarding is off",
    ({ lab }) => lab.host.exec("sh", ["-c", "echo 0 > /proc/sys/net/ipv4/ip_forward"]),
    /^IPv4 forwarding is off on the host$/,
  ],
  [
    "IPv6 forwarding is off",
    ({ lab }) => lab.host.exec("sh", ["-c", "echo 0 > /proc/sys/net/ipv6/conf/all/forwarding"]),
    /^IPv6 forwarding is off on the host$/,
  ],
];

async function replaceRoute(pod: Netns, ...attributes: string[]): Promise<unknown> {
  return pod.ip("route", "replace", "192.0.2.0/24", "via", "10.77.0.9", "metric", "10", ...attributes);
}

describe("CHECK names what was broken", () => {
  test.each(BREAKAGES)("%s", (_name, breakIt, msg) =>
    attached({}, async (given) => {
      await breakIt(given);
      const check = await given.lab.check(given.pod, given.result, CONFIG);
      expectError(check, { code: 101, msg, details: /DEL and ADD/ });
    }),
  );

  test.each([
    ["hairpinMode", "hairpin", /hairpin mode off, expected on/],
    ["portIsolation", "isolated", /isolation off, expected on/],
  ])("%s was switched off", (option, flag, msg) =>
    attached({ [option]: true }, async ({ lab, pod, result, port }) => {
      await lab.host.exec("bridge", ["link", "set", "dev", port, flag, "off"]);
      expectError(await lab.check(pod, result, { ...CONFIG, [option]: true }), { code: 101, msg });
    }),
  );

  test("the bridge is not promiscuous any more", () =>
    attached({ promiscMode: true }, async ({ lab, pod, result }) => {
      await lab.host.ip("link", "set", BRIDGE, "promisc", "off");
      const check = await lab.check(pod, result, { ...CONFIG, promiscMode: true });
      expectError(check, { code: 101, msg: "pwt0 is not promiscuous" });
    }));

  test("an MTU that the configuration left to the kernel", () =>
    withLab(async (lab) => {
      const pod = await lab.pod();
      const result = await lab.add(pod);
      await pod.ip("link", "set", "eth0", "mtu", "1399");
      expectError(await lab.check(pod, result), { code: 101, msg: "eth0 has MTU 1399, expected 1500" });
    }));

  test("IPAM's own complaint is handed on [CHECK-10]", () =>
    attached({}, async ({ lab, pod, result }) => {
      await lab.run("DEL", pod, CONFIG, { plugin: `${lab.directory}/stubipam` });
      expectError(await lab.check(pod, result, CONFIG), { code: 131, msg: "no lease" });
    }));

  test("a namespace that is gone, and a missing prevResult", () =>
    attached({}, async ({ lab, pod, result }) => {
      expectError(await lab.run("CHECK", pod, CONFIG), { code: 7, msg: "Required prevResult missing" });
      await pod.remove();
      expectError(await lab.check(pod, result, CONFIG), { code: 8 });
    }));
});

describe("CHECK is content", () => {
  let lab: Lab;
  let pod: Netns;
  let result: JsonObject;

  beforeAll(async () => {
    lab = await Lab.create();
    pod = await lab.pod();
    result = await lab.add(pod, CONFIG, { lease: LEASE });
  });

  afterAll(async () => {
    await lab.remove();
  });

  test("while somebody watches the bridge with tcpdump", async () => {
    const watching = await capture(lab.host, BRIDGE);
    expect(await linkOf(lab.host, BRIDGE)).toMatchObject({ promiscuity: 1 });
    expectSuccess(await lab.check(pod, result, CONFIG));
    await watching.stop();
  });

  test("with addresses and routes that others added", async () => {
    await pod.ip("address", "add", "10.99.0.5/24", "dev", "eth0");
    await pod.ip("route", "add", "203.0.113.0/24", "via", "10.77.0.1");
    await pod.ip("route", "add", "192.0.2.0/24", "via", "10.77.0.7", "metric", "99");
    await pod.ip("-6", "route", "add", "2001:db8:1::/48", "via", "fd77::1");
    await lab.host.ip("address", "add", "10.99.0.1/24", "dev", BRIDGE);
    await lab.host.ip("link", "set", BRIDGE, "promisc", "on");
    expectSuccess(await lab.check(pod, result, CONFIG));
  });

  test("with settings that other plugins changed", async () => {
    await pod.exec("sh", ["-c", "echo 0 > /proc/sys/net/ipv4/conf/eth0/arp_notify"]);
    /* portmap does so where a pod has to reach itself by a published port. */
    const port = (result.interfaces as { name: string }[])[1]?.name ?? "";
    await lab.host.exec("bridge", ["link", "set", "dev", port, "hairpin", "on"]);
    expectSuccess(await lab.check(pod, result, CONFIG));
  });

  test("after other pods came and went", async () => {
    const other = await lab.pod();
    await lab.add(other, CONFIG, { lease: { ips: [{ address: "10.77.0.6/24" }] } });
    expectSuccess(await lab.check(pod, result, CONFIG));
    await lab.del(other, CONFIG);
    expectSuccess(await lab.check(pod, result, CONFIG));
  });

  test("with what plugins behind it in the chain changed and reported [CHECK-2]", async () => {
    const mac = "02:00:00:00:00:42";
    await pod.ip("link", "set", "eth0", "address", mac, "mtu", "1380");
    const interfaces = (result.interfaces as JsonObject[]).map((item) =>
      item.name === "eth0" ? { ...item, mac, mtu: 1380 } : item,
    );
    const changed = { ...result, interfaces: [...interfaces, { name: "ifb0", mac: "02:00:00:00:00:43" }] };
    expectSuccess(await lab.check(pod, changed, CONFIG));
  });
});

test("CHECK finds each of several gateways of one IPv6 destination, which the kernel merges into one route", () =>
  withLab(async (lab) => {
    const pod = await lab.pod();
    const routes = [
      { dst: "2001:db8::/32", gw: "fd77::8" },
      { dst: "2001:db8::/32", gw: "fd77::9" },
      { dst: "198.51.100.0/24", gw: "10.77.0.8", priority: 1 },
      { dst: "198.51.100.0/24", gw: "10.77.0.9", priority: 2 },
    ];
    const ips = [{ address: "10.77.0.5/24" }, { address: "fd77::5/64" }];
    const result = await lab.add(pod, CONFIG, { lease: { ips, routes } });
    expectSuccess(await lab.check(pod, result, CONFIG));
    await pod.ip("-6", "route", "delete", "2001:db8::/32", "via", "fd77::9");
    const msg = "the route 2001:db8::/32 via fd77::9 on eth0 has gateway fd77::8";
    expectError(await lab.check(pod, result, CONFIG), { code: 101, msg });
  }));
