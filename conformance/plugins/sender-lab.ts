/** A pod that sends what it should not, and a neighbour on its bridge who listens: for the suites of the bridge's rules. */
import type { JsonObject, Netns } from "../../testbed/harness.ts";
import { capture } from "./bridge-lab.ts";
import { type Node, type Pod, withNode } from "./portmap-lab.ts";
import { addressBytes, icmp6Frame, udpFrame } from "./traffic.ts";

export const FOREIGN = "02:de:ad:be:ef:01";
export const BROADCAST = "ff:ff:ff:ff:ff:ff";
export const ALL_NODES_MAC = "33:33:00:00:00:01";

export async function macOf(netns: Netns, link = "eth0"): Promise<string> {
  const [found] = await netns.query("link", "show", "dev", link);
  return String((found as JsonObject).address);
}

export async function linkLocalOf(netns: Netns, link = "eth0"): Promise<string> {
  const [found] = await netns.query("address", "show", "dev", link);
  const all = (found?.addr_info ?? []) as JsonObject[];
  return String(all.find((info) => info.family === "inet6" && info.scope === "link")?.local);
}

export interface Scene {
  readonly node: Node;
  /** Held by the checks. */
  readonly sender: Pod;
  readonly senderMac: string;
  /** On the same bridge, with a UDP server "victim" on port 80. */
  readonly victim: Pod;
  readonly victimMac: string;
}

/** Two pods on a bridge, the first with further options. */
export async function withScene(bridge: JsonObject, run: (scene: Scene) => Promise<void>): Promise<void> {
  await withNode({}, async (node) => {
    await node.traffic.serveAll(node.client, "client", 80);
    const sender = await node.pod({ portmap: null, label: "sender", bridge });
    const victim = await node.pod({ portmap: null, label: "victim" });
    const [senderMac, victimMac] = [await macOf(sender.netns), await macOf(victim.netns)];
    await run({ node, sender, senderMac, victim, victimMac });
  });
}

/** A datagram to the victim with chosen source addresses. */
export function datagram(
  scene: Scene,
  text: string,
  change: { mac?: string; source?: string; family?: 4 | 6 } = {},
): Uint8Array {
  const six = change.family === 6;
  return udpFrame({
    sourceMac: change.mac ?? scene.senderMac,
    destinationMac: scene.victimMac,
    source: change.source ?? (six ? scene.sender.v6 : scene.sender.v4),
    destination: six ? scene.victim.v6 : scene.victim.v4,
    sourcePort: 40_000,
    destinationPort: 80,
    text,
  });
}

/** What of the frames the victim's server got. */
export async function received({ node, sender, victim }: Scene, frames: readonly Uint8Array[]): Promise<string[]> {
  await node.traffic.seen(victim.netns, "victim");
  await node.traffic.send(sender.netns, "eth0", ...frames);
  await new Promise((resolve) => setTimeout(resolve, 150));
  return (await node.traffic.seen(victim.netns, "victim")).map(([, text]) => text);
}

/** The frames that the victim's link and the node's bridge see of those that the pod sends, as lines of tcpdump. */
export async function captured(
  { node, sender, victim }: Scene,
  filter: string,
  frames: readonly Uint8Array[],
): Promise<string[]> {
  const captures = [
    await capture(victim.netns, "eth0", filter),
    await capture(node.host, "cni0", "-p", "-Q", "in", filter),
  ];
  await node.traffic.send(sender.netns, "eth0", ...frames);
  await new Promise((resolve) => setTimeout(resolve, 200));
  return (await Promise.all(captures.map((one) => one.stop()))).flat();
}

/** A frame behind VLAN tags, the outermost first, each as its type and VLAN ID: "8100:0". */
export function tagged(frame: Uint8Array, tags: readonly string[]): Uint8Array {
  const bytes = tags.map((tag) => {
    const [type = "", id = ""] = tag.split(":");
    return Buffer.from(`${type}${Number(id).toString(16).padStart(4, "0")}`, "hex");
  });
  return Buffer.concat([frame.subarray(0, 12), ...bytes, frame.subarray(12)]);
}

/** A whole advertisement with a prefix, as rogue pods send it (CVE-2020-10749). */
export function advertisement(
  { senderMac }: Scene,
  source: string,
  destination = "ff02::1",
  mac = ALL_NODES_MAC,
): Uint8Array {
  const prefix = Buffer.concat([
    Buffer.from("030440c0000151800000384000000000", "hex"),
    addressBytes("2001:db8:bad::"),
  ]);
  const header = Buffer.from("8600000040080708" + "0000000000000000", "hex");
  return icmp6Frame({
    ...{ sourceMac: senderMac, destinationMac: mac, source, destination },
    body: Buffer.concat([header, prefix]),
  });
}
