/** What a pod cannot do by putting a frame behind VLAN tags. Each one is tried behind one to three of them, of both types. */
import { describe, expect, test } from "vitest";
import { expectSuccess } from "../../testbed/harness.ts";
import { ShapedNode } from "./bandwidth-lab.ts";
import { hostEnd } from "./bridge-lab.ts";
import { addressOf } from "./portmap-lab.ts";
import {
  advertisement,
  captured,
  datagram,
  FOREIGN,
  linkLocalOf,
  received,
  type Scene,
  tagged,
  withScene,
} from "./sender-lab.ts";
import { arpFrame } from "./traffic.ts";

/** The outermost tag first: its type and VLAN ID. VLAN 0 is none: whoever receives it takes the tag off. */
const TAGS = [
  ["8100:0"],
  ["88a8:0"],
  ["8100:5"],
  ["88a8:5"],
  ["8100:0", "8100:0"],
  ["88a8:0", "8100:0"],
  ["8100:5", "8100:0"],
  ["8100:0", "88a8:0"],
  ["8100:0", "8100:0", "8100:0"],
  ["88a8:0", "88a8:0", "8100:5"],
] as const;
/** The link group of trunk ports. This kernel may lack VLAN filtering, without which `vlanTrunk` is refused. */
const TRUNK_GROUP = "7368549";

/** What no pod with both checks may send. */
async function lies(scene: Scene): Promise<Uint8Array[]> {
  const { sender, senderMac, victim, victimMac } = scene;
  const claim = { sourceMac: senderMac, destinationMac: victimMac, target: victim.v4 };
  return [
    advertisement(scene, await linkLocalOf(sender.netns)),
    arpFrame({ ...claim, senderMac: FOREIGN, sender: sender.v4 }),
    arpFrame({ ...claim, senderMac, sender: addressOf("gateway", 4) }),
    datagram(scene, "foreign MAC", { mac: FOREIGN }),
    datagram(scene, "foreign IPv4", { source: "10.88.0.77" }),
    datagram(scene, "foreign IPv6", { source: "fd88::77", family: 6 }),
    datagram(scene, "unspecified", { source: "::", family: 6 }),
  ];
}

const behindAll = (frames: readonly Uint8Array[], tags: readonly (readonly string[])[]) =>
  tags.flatMap((some) => frames.map((frame) => tagged(frame, some)));

describe("a pod without a trunk", () => {
  test.each([{}, { macspoofchk: true, ipSpoofCheck: true }])("sends no tagged frame at all: %o", (options) =>
    withScene(options, async (scene) => {
      const honest = [datagram(scene, "own"), datagram(scene, "own", { family: 6 })];
      const frames = behindAll([...honest, ...(await lies(scene))], TAGS);
      expect(await captured(scene, "vlan", frames)).toEqual([]);
      expect(await received(scene, frames)).toEqual([]);
      expect(await received(scene, honest)).toEqual(["own", "own"]);
      const routes = await scene.victim.netns.exec("ip", ["-6", "route", "show", "proto", "ra"]);
      expect(routes).toBe("");
    }),
  );
});

describe("a trunk", () => {
  const options = { macspoofchk: true, ipSpoofCheck: true };

  async function makeTrunk({ node, sender }: Scene): Promise<void> {
    await node.host.ip("link", "set", "dev", hostEnd(sender.bridged), "group", TRUNK_GROUP);
  }

  test("is held to its addresses inside a tag, and sends one tag only", () =>
    withScene(options, async (scene) => {
      await makeTrunk(scene);
      const single = TAGS.filter((tags) => tags.length === 1);
      const nested = TAGS.filter((tags) => tags.length > 1);
      const honest = [datagram(scene, "own"), datagram(scene, "own", { family: 6 })];
      expect(await captured(scene, "vlan", behindAll(await lies(scene), single))).toEqual([]);
      expect(await captured(scene, "vlan", behindAll([...honest, ...(await lies(scene))], nested))).toEqual([]);
      const seen = await captured(scene, "vlan", behindAll(honest, [["8100:5"]]));
      expect(seen.length).toBeGreaterThanOrEqual(honest.length);
      /* Behind a tag for no VLAN they arrive. */
      expect(await received(scene, behindAll(honest, [["8100:0"]]))).toEqual(["own", "own"]);
    }));

  test("is no router either, without any check", () =>
    withScene({}, async (scene) => {
      await makeTrunk(scene);
      const frame = advertisement(scene, await linkLocalOf(scene.sender.netns));
      expect(await captured(scene, "vlan", behindAll([frame], TAGS))).toEqual([]);
      expect(await captured(scene, `icmp6 and ether src ${scene.senderMac} and ip6[40] == 134`, [frame])).toEqual([]);
    }));
});

test("tagged packets count as of a shaped subnet, others of other subnets do not", async () => {
  const lab = await ShapedNode.create();
  try {
    const { node } = lab;
    const limits = { egressRate: 10e6, egressBurst: 1e6 };
    const extra = { shapedSubnets: ["198.51.100.0/24", "2001:db8:2::/64"] };
    const pod = await lab.pod(limits, extra);
    const [ifb = ""] = await lab.ifbs();
    const sent = async () => {
      const [link] = JSON.parse(await node.host.exec("ip", ["-s", "-j", "link", "show", "dev", ifb]));
      return Number(link.stats64.tx.packets);
    };
    const [shown] = await pod.netns.query("link", "show", "dev", "eth0");
    const senderMac = String(shown?.address);
    const scene = { node, sender: pod, senderMac, victim: pod, victimMac: senderMac };
    const packet = (text: string) => datagram(scene, text);
    const shapedBy = async (frames: readonly Uint8Array[]) => {
      const before = await sent();
      await node.traffic.send(pod.netns, "eth0", ...frames);
      await new Promise((resolve) => setTimeout(resolve, 150));
      return (await sent()) - before;
    };
    expect(await shapedBy([packet("no tag")])).toBe(0);
    expect(await shapedBy(behindAll([packet("tagged")], TAGS))).toBe(TAGS.length);
    expectSuccess(await lab.check(pod, limits, extra));
    expectSuccess(await lab.del(pod, limits, extra));
    expect(await lab.tc("filter", "show", "dev", lab.hostLink(pod), "ingress")).toBe("");
  } finally {
    await lab.remove();
  }
});
