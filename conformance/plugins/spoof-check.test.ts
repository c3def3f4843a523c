/** bridge with macspoofchk and ipSpoofCheck, and router advertisements: what a pod cannot send into its bridge. */
import { describe, expect, test } from "vitest";
import { expectError, expectSuccess, type JsonObject } from "../../testbed/harness.ts";
import { capture, hostEnd } from "./bridge-lab.ts";
import { remains } from "./node-filter.ts";
import { addressOf, type Node, type Pod, withNode } from "./portmap-lab.ts";
import {
  ALL_NODES_MAC,
  advertisement,
  BROADCAST,
  captured,
  datagram,
  FOREIGN,
  linkLocalOf,
  macOf,
  received,
  type Scene,
  tagged,
  withScene,
} from "./sender-lab.ts";
import { addressBytes, arpFrame, BRIEFLY, icmp6Frame, udpFrame } from "./traffic.ts";

/** Asserts that honest traffic passes, in both directions and families. */
async function expectHonestTraffic({ node, sender, victim }: Scene): Promise<void> {
  for (const protocol of ["tcp", "udp"] as const) {
    expect(await node.ask(sender.netns, victim.v4, 80, protocol)).toBe(`victim saw ${sender.v4}`);
    expect(await node.ask(sender.netns, victim.v6, 80, protocol)).toBe(`victim saw ${sender.v6}`);
    expect(await node.ask(victim.netns, sender.v4, 80, protocol)).toBe(`sender saw ${victim.v4}`);
    expect(await node.ask(victim.netns, sender.v6, 80, protocol)).toBe(`sender saw ${victim.v6}`);
    expect(await node.ask(sender.netns, addressOf("client", 4), 80, protocol)).toBe(`client saw ${sender.v4}`);
    expect(await node.ask(sender.netns, addressOf("client", 6), 80, protocol)).toBe(`client saw ${sender.v6}`);
    expect(await node.ask(node.client, sender.v4, 80, protocol)).toBe(`sender saw ${addressOf("client", 4)}`);
  }
  expect(await sender.netns.ping(addressOf("gateway", 4))).toBe(true);
  expect(await sender.netns.ping(addressOf("gateway", 6))).toBe(true);
}

describe("macspoofchk", () => {
  const options = { macspoofchk: true };

  test("honest traffic passes", () => withScene(options, expectHonestTraffic));

  test("frames with a foreign source MAC are dropped, those with the own one pass", () =>
    withScene(options, async (scene) => {
      const frames = [
        datagram(scene, "own"),
        datagram(scene, "own", { family: 6 }),
        datagram(scene, "foreign", { mac: FOREIGN }),
        datagram(scene, "foreign", { mac: FOREIGN, family: 6 }),
        datagram(scene, "the victim's", { mac: scene.victimMac }),
        datagram(scene, "tagged", { mac: FOREIGN }),
      ];
      expect(await received(scene, frames)).toEqual(["own", "own"]);
      const behind = [tagged(datagram(scene, "tagged", { mac: FOREIGN }), ["8100:5"])];
      expect(await captured(scene, `ether host ${FOREIGN}`, [...frames, ...behind])).toEqual([]);
    }));

  test("without it they pass", () =>
    withScene({}, async (scene) => {
      expect(await received(scene, [datagram(scene, "foreign", { mac: FOREIGN })])).toEqual(["foreign"]);
    }));

  test("a pod that changes its MAC is cut off until it takes the old one back", () =>
    withScene(options, async (scene) => {
      const { node, sender, victim, senderMac } = scene;
      const set = (mac: string) =>
        sender.netns.exec("sh", ["-c", `ip link set eth0 down; ip link set eth0 address ${mac}; ip link set eth0 up`]);
      await set(FOREIGN);
      expect(await node.ask(sender.netns, victim.v4, 80, "udp", BRIEFLY)).not.toContain("saw");
      expect(await node.ask(node.host, sender.v4, 80, "udp", BRIEFLY)).not.toContain("saw");
      await set(senderMac);
      expect(await node.ask(sender.netns, victim.v4, 80, "udp")).toBe(`victim saw ${sender.v4}`);
    }));

  test("ARP that names a foreign MAC is dropped, whatever the frame's own is", () =>
    withScene(options, async (scene) => {
      const { senderMac, victimMac, victim } = scene;
      const claim = (sourceMac: string, claimed: string) =>
        arpFrame({
          sourceMac,
          destinationMac: victimMac,
          senderMac: claimed,
          sender: addressOf("gateway", 4),
          target: victim.v4,
        });
      const filter = "arp and ether host";
      expect(await captured(scene, `${filter} ${senderMac}`, [claim(senderMac, FOREIGN)])).toEqual([]);
      expect(
        await captured(scene, `${filter} ${FOREIGN}`, [claim(FOREIGN, FOREIGN), claim(FOREIGN, senderMac)]),
      ).toEqual([]);
      expect(await captured(scene, `${filter} ${senderMac}`, [claim(senderMac, senderMac)])).not.toEqual([]);
    }));

  test("neighbour discovery that tells a foreign MAC is dropped, wherever in the message it stands", () =>
    withScene(options, async (scene) => {
      const { senderMac, sender, victim } = scene;
      const message = (head: string, ...optionList: string[]) =>
        icmp6Frame({
          ...{ sourceMac: senderMac, destinationMac: ALL_NODES_MAC, source: sender.v6, destination: "ff02::1" },
          body: Buffer.from(head + optionList.join(""), "hex"),
        });
      const option = (type: "01" | "02", mac: string) => `${type}01${mac.replaceAll(":", "")}`;
      const target = addressBytes(victim.v6).toString("hex");
      const messages = [
        { head: "8500000000000000", type: "01" },
        { head: `8700000000000000${target}`, type: "01" },
        { head: `8800000020000000${target}`, type: "02" },
      ] as const;
      const nonce = "0e01000102030405";
      const filter = `icmp6 and ether src ${senderMac} and (ip6[40] == 133 or ip6[40] == 135 or ip6[40] == 136 or ip6[40] == 137)`;
      for (const { head, type } of messages) {
        const lies = [
          message(head, option(type, FOREIGN)),
          message(head, nonce, option(type, FOREIGN)),
          message(head, option(type, senderMac), option(type, FOREIGN)),
        ];
        expect(await captured(scene, `${filter} and ether[54] == 0x${head.slice(0, 2)}`, lies), head).toEqual([]);
        const honest = [message(head, option(type, senderMac)), message(head), message(head, nonce)];
        const seen = await captured(scene, `${filter} and ether[54] == 0x${head.slice(0, 2)}`, honest);
        expect(seen.length, head).toBeGreaterThanOrEqual(6);
      }
      const redirect = `8900000000000000${target}${addressBytes(addressOf("server", 6)).toString("hex")}`;
      expect(
        await captured(scene, `${filter} and ether[54] == 137`, [message(redirect, option("02", FOREIGN))]),
      ).toEqual([]);
    }));

  test("pods without it are not held by it", () =>
    withScene(options, async ({ node, sender, victim, victimMac, senderMac }) => {
      await node.traffic.seen(sender.netns, "sender");
      const frame = udpFrame({
        ...{ sourceMac: FOREIGN, destinationMac: senderMac, source: victim.v4, destination: sender.v4 },
        ...{ sourcePort: 1, destinationPort: 80, text: "free" },
      });
      await node.traffic.send(victim.netns, "eth0", frame);
      await new Promise((resolve) => setTimeout(resolve, 150));
      expect(await node.traffic.seen(sender.netns, "sender")).toEqual([[victim.v4, "free"]]);
      expect(victimMac).not.toBe(FOREIGN);
    }));
});

describe("ipSpoofCheck", () => {
  const options = { ipSpoofCheck: true };

  test.each([options, { ...options, macspoofchk: true }])("honest traffic passes: %o", (extra) =>
    withScene(extra, expectHonestTraffic),
  );

  test("other source addresses are dropped", () =>
    withScene(options, async (scene) => {
      const frames = [
        datagram(scene, "own"),
        datagram(scene, "own", { family: 6 }),
        datagram(scene, "another's", { source: "10.88.0.77" }),
        datagram(scene, "another's", { source: "fd88::77", family: 6 }),
        datagram(scene, "the gateway's", { source: addressOf("gateway", 4) }),
        datagram(scene, "the gateway's", { source: addressOf("gateway", 6), family: 6 }),
        datagram(scene, "from far away", { source: "203.0.113.50" }),
        datagram(scene, "from far away", { source: "2001:db8:9::9", family: 6 }),
        datagram(scene, "a foreign link-local", { source: "fe80::dead:beef", family: 6 }),
        datagram(scene, "link-local", { source: await linkLocalOf(scene.sender.netns), family: 6 }),
      ];
      expect(await received(scene, frames)).toEqual(["own", "own", "link-local"]);
      const behind = tagged(datagram(scene, "tagged", { source: "10.88.0.77" }), ["8100:5"]);
      expect(await captured(scene, "vlan", [behind])).toEqual([]);
    }));

  test("without it they pass", () =>
    withScene({ macspoofchk: true }, async (scene) => {
      const frames = [
        datagram(scene, "IPv4", { source: "10.88.0.77" }),
        datagram(scene, "IPv6", { source: "fd88::77", family: 6 }),
      ];
      expect(await received(scene, frames)).toEqual(["IPv4", "IPv6"]);
    }));

  test("an address added inside the pod is of no use", () =>
    withScene(options, async ({ node, sender, victim }) => {
      await sender.netns.ip("address", "add", "10.88.0.77/24", "dev", "eth0");
      await sender.netns.ip("address", "add", "fd88::77/64", "dev", "eth0", "nodad");
      const ask = (address: string, source: string) =>
        node.ask(sender.netns, address, 80, "udp", { source, ...BRIEFLY });
      expect(await ask(victim.v4, "10.88.0.77")).not.toContain("saw");
      expect(await ask(victim.v6, "fd88::77")).not.toContain("saw");
      /* The pod's kernel goes on asking for its neighbour from the foreign address until the next try, a second later. */
      const patient = { timeout: 5000 };
      await expect.poll(() => ask(victim.v4, sender.v4), patient).toBe(`victim saw ${sender.v4}`);
      await expect.poll(() => ask(victim.v6, sender.v6), patient).toBe(`victim saw ${sender.v6}`);
    }));

  test("ARP for another's address is dropped, requests and replies", () =>
    withScene(options, async (scene) => {
      const { senderMac, victimMac, victim, sender } = scene;
      const claim = (address: string, destinationMac: string) =>
        arpFrame({ sourceMac: senderMac, destinationMac, senderMac, sender: address, target: victim.v4 });
      const frames = [claim(addressOf("gateway", 4), victimMac), claim("10.88.0.77", BROADCAST)];
      expect(await captured(scene, `arp and ether src ${senderMac}`, frames)).toEqual([]);
      expect(await captured(scene, `arp and ether src ${senderMac}`, [claim(sender.v4, victimMac)])).not.toEqual([]);
      /* An ARP probe, with which a host asks whether an address is free, names no sender. */
      expect(await captured(scene, `arp and ether src ${senderMac}`, [claim("0.0.0.0", BROADCAST)])).not.toEqual([]);
    }));

  test("neighbour advertisements for another's address are dropped", () =>
    withScene(options, async (scene) => {
      const { senderMac, sender } = scene;
      const advertise = (target: string, source = sender.v6) =>
        icmp6Frame({
          ...{ sourceMac: senderMac, destinationMac: ALL_NODES_MAC, source, destination: "ff02::1" },
          body: Buffer.concat([
            Buffer.from("8800000020000000", "hex"),
            addressBytes(target),
            Buffer.from(`0201${senderMac.replaceAll(":", "")}`, "hex"),
          ]),
        });
      const filter = `icmp6 and ether src ${senderMac} and ip6[40] == 136`;
      const lies = [
        advertise(addressOf("gateway", 6)),
        advertise("fd88::77"),
        advertise(sender.v6, addressOf("gateway", 6)),
      ];
      expect(await captured(scene, filter, lies)).toEqual([]);
      expect(await captured(scene, filter, [advertise(sender.v6)])).not.toEqual([]);
    }));

  test("from the unspecified address come questions for own addresses and reports of groups only", () =>
    withScene(options, async (scene) => {
      const { senderMac, sender, victim } = scene;
      const ask = (target: string) =>
        icmp6Frame({
          ...{ sourceMac: senderMac, destinationMac: "33:33:ff:00:00:01", source: "::", destination: "ff02::1" },
          body: Buffer.concat([Buffer.from("8700000000000000", "hex"), addressBytes(target)]),
        });
      const report = icmp6Frame({
        ...{ sourceMac: senderMac, destinationMac: "33:33:00:00:00:16", source: "::", destination: "ff02::16" },
        body: Buffer.from("8f00000000000001" + "04000000ff020000000000000000000000000123", "hex"),
      });
      const solicit = icmp6Frame({
        ...{ sourceMac: senderMac, destinationMac: ALL_NODES_MAC, source: "::", destination: "ff02::2" },
        body: Buffer.from("8500000000000000", "hex"),
      });
      const filter = `ip6 src :: and ether src ${senderMac}`;
      const lies = [
        datagram(scene, "from nowhere", { source: "::", family: 6 }),
        ask(victim.v6),
        ask("fd88::77"),
        solicit,
      ];
      expect(await captured(scene, `${filter} and not ip6[6] == 0`, lies)).toEqual([]);
      expect(await received(scene, lies)).toEqual([]);
      for (const frame of [ask(sender.v6), ask(await linkLocalOf(sender.netns)), report]) {
        expect(await captured(scene, filter, [frame])).not.toEqual([]);
      }
    }));

  test("a pod cannot make its neighbour give up an address", () =>
    withScene(options, async (scene) => {
      const { senderMac, victim } = scene;
      const seen = async () =>
        (await victim.netns.exec("ip", ["-6", "address", "show", "dev", "eth0"])).includes("dadfailed");
      await victim.netns.exec("sh", [
        "-c",
        "echo 1 > /proc/sys/net/ipv6/conf/eth0/accept_dad; echo 3 > /proc/sys/net/ipv6/conf/eth0/dad_transmits",
      ]);
      await victim.netns.ip("address", "add", "fd88::99/64", "dev", "eth0");
      const question = icmp6Frame({
        ...{ sourceMac: senderMac, destinationMac: "33:33:ff:00:00:99", source: "::", destination: "ff02::1:ff00:99" },
        body: Buffer.concat([Buffer.from("8700000000000000", "hex"), addressBytes("fd88::99")]),
      });
      for (let i = 0; i < 5; i += 1) {
        await scene.node.traffic.send(scene.sender.netns, "eth0", question);
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
      expect(await seen()).toBe(false);
    }));
});

describe("router advertisements", () => {
  /** The same behind a hop-by-hop header, which naive filters do not look behind. */
  function hidden(frame: Uint8Array): Uint8Array {
    const bytes = Buffer.from(frame);
    const length = bytes.readUInt16BE(18) + 8;
    const header = Buffer.from(bytes.subarray(0, 54));
    header.writeUInt16BE(length, 18);
    header[20] = 0;
    return Buffer.concat([header, Buffer.from("3a00010400000000", "hex"), bytes.subarray(54)]);
  }

  test.each([{}, { macspoofchk: true }, { ipMasq: true }])(
    "of a pod reach neither the bridge nor other pods: %o",
    (extra) =>
      withScene(extra, async (scene) => {
        const source = await linkLocalOf(scene.sender.netns);
        const frames = [
          advertisement(scene, source),
          advertisement(scene, source, scene.victim.v6, scene.victimMac),
          hidden(advertisement(scene, source)),
        ];
        expect(
          await captured(
            scene,
            `ip6 and ether src ${scene.senderMac} and (ip6[40] == 134 or ip6[6] == 0 and ip6[48] == 134)`,
            frames,
          ),
        ).toEqual([]);
        const routes = await scene.victim.netns.exec("ip", ["-6", "route", "show", "proto", "ra"]);
        expect(routes).toBe("");
        expect(await scene.victim.netns.exec("ip", ["-6", "address"])).not.toContain("2001:db8:bad");
        expect(await scene.node.host.exec("ip", ["-6", "address"])).not.toContain("2001:db8:bad");
      }),
  );

  test("while a router behind another port of the bridge is heard", () =>
    withScene({}, async (scene) => {
      const { node, victim } = scene;
      const router = await node.namespace();
      await node.host.ip("link", "add", "r0", "type", "veth", "peer", "name", "eth0", "netns", router.name);
      await node.host.ip("link", "set", "r0", "master", "cni0", "up");
      await router.ip("link", "set", "eth0", "up");
      const mac = await macOf(router);
      const seen = await capture(victim.netns, "eth0", `icmp6 and ether src ${mac}`);
      await node.traffic.send(router, "eth0", advertisement({ ...scene, senderMac: mac }, "fe80::1"));
      const heard = await seen.seen(/router advertisement/);
      const lines = await seen.stop();
      expect(heard, lines.join("\n")).toBe(true);
    }));
});

describe("the life of the checks", () => {
  const options = { macspoofchk: true, ipSpoofCheck: true };

  async function check(node: Node, pod: Pod, extra: JsonObject = {}) {
    return node.call("bridge", "CHECK", pod, node.bridgeConfig({ ...options, prevResult: pod.result, ...extra }));
  }

  test("CHECK misses them by name, a flush is mended by STATUS, and DEL leaves nothing", () =>
    withScene(options, async (scene) => {
      const { node, sender } = scene;
      const link = hostEnd(sender.bridged);
      expectSuccess(await check(node, sender));
      await node.nft("delete", "element", "bridge", "podwire", "macs", `{ "${link}" . ${scene.senderMac} }`);
      const result = await check(node, sender);
      expectError(result, { code: 101 });
      expect(result.stdout).toContain(link);
      await node.nft("flush", "ruleset");
      expect(await received(scene, [datagram(scene, "foreign", { mac: FOREIGN })])).toEqual(["foreign"]);
      expectSuccess(
        await node.sandbox.call({ plugin: "bridge", command: "STATUS", config: node.bridgeConfig(options) }),
      );
      expect(await received(scene, [datagram(scene, "foreign", { mac: FOREIGN }), datagram(scene, "own")])).toEqual([
        "own",
      ]);
      expectSuccess(await check(node, sender));
      await node.removePod(sender, null, { portmap: null });
      expect((await remains(node)).join("\n")).not.toContain(sender.containerId);
      expect(await node.ruleset()).not.toContain(link);
    }));

  test.each([
    ["with the namespace gone", async (node: Node, pod: Pod) => node.kill(pod)],
    ["with the options no longer given", async () => {}],
    ["after a flush", async (node: Node) => void (await node.nft("flush", "ruleset"))],
  ] as const)("DEL leaves nothing: %s, thrice", (_name, prepare) =>
    withNode({}, async (node) => {
      const pod = await node.pod({ portmap: null, bridge: options });
      await prepare(node, pod);
      for (let time = 0; time < 3; time += 1) {
        const result = await node.call("bridge", "DEL", pod, node.bridgeConfig());
        expectSuccess(result);
        expect(result.stderr).toBe("");
      }
      expect(await remains(node)).toEqual([]);
      expect(await node.ruleset()).not.toContain(hostEnd(pod.bridged));
    }),
  );

  test("GC leaves nothing of attachments that are not valid", () =>
    withNode({}, async (node) => {
      const [valid, gone] = [
        await node.pod({ portmap: null, bridge: options }),
        await node.pod({ portmap: null, bridge: options }),
      ];
      const collect = async (pods: readonly Pod[]) => {
        const attachments = pods.map(({ containerId, ifname }) => ({ containerID: containerId, ifname }));
        const config = node.bridgeConfig({ "cni.dev/valid-attachments": attachments });
        expectSuccess(await node.sandbox.call({ plugin: "bridge", command: "GC", config }));
      };
      await collect([valid]);
      expectSuccess(await check(node, valid));
      expect(await node.ruleset()).not.toContain(hostEnd(gone.bridged));
      await collect([]);
      expect(await remains(node)).toEqual([]);
    }));

  test("a pod without addresses is held to its MAC", () =>
    withNode({}, async (node) => {
      const pod = await node.pod({ portmap: null, bridge: { macspoofchk: true, ipam: {}, isDefaultGateway: false } });
      const mac = await macOf(pod.netns);
      const seen = await capture(node.host, "cni0", "-p", "-Q", "in", "ether proto 0x88b5");
      const frame = (source: string) =>
        Buffer.from(`ffffffffffff${source.replaceAll(":", "")}88b5${"00".repeat(46)}`, "hex");
      await node.traffic.send(pod.netns, "eth0", frame(FOREIGN), frame(mac));
      expect(await seen.seen(new RegExp(mac))).toBe(true);
      expect((await seen.stop()).join("\n")).not.toContain(FOREIGN);
    }));

  test("ipSpoofCheck without addresses to check is refused", () =>
    withNode({}, async (node) => {
      const netns = await node.namespace();
      const who = { netns, containerId: netns.name, ifname: "eth0" };
      const config = node.bridgeConfig({ ipSpoofCheck: true, ipam: {}, isDefaultGateway: false });
      expectError(await node.call("bridge", "ADD", who, config), { code: 7, msg: /ipSpoofCheck/ });
    }));
});
