/** Packets that pretend to be an overlay's: what comes out of the tunnel, whoever sent it. */
import { type Netns, until } from "../../testbed/harness.ts";
import type { Cluster, Datapath, Pod } from "./overlay-lab.ts";
import { udpFrame } from "./traffic.ts";

export const OVERLAY_PORT = 8472;
const ETHERNET_HEADER = 14;
/** Nobody's pod. */
export const NOBODY = { v4: "10.244.99.9", v6: "fd44:0:0:99::9" };

export interface Inner {
  readonly datapath: Datapath;
  readonly vni?: number;
  readonly source: string;
  readonly destination: string;
  readonly text: string;
}

/**
 * What is behind the UDP header: VXLAN's own (RFC 7348 section 5), or VXLAN-GPE's, and a packet to a pod's UDP port 80.
 * @param deviceMac the Ethernet address of the device that is to take it out
 */
export function tunnelled(inner: Inner, deviceMac: string): Uint8Array {
  const { source, destination, text } = inner;
  const frame = udpFrame({
    sourceMac: "0e:00:00:00:00:66",
    destinationMac: deviceMac,
    source,
    destination,
    sourcePort: 4000,
    destinationPort: 80,
    text,
  });
  const header = Buffer.alloc(8);
  header.writeUInt32BE((inner.vni ?? 1) << 8, 4);
  if (inner.datapath === "classic") {
    header[0] = 0x08;
    return Buffer.concat([header, frame]);
  }
  header[0] = 0x0c;
  header[3] = source.includes(":") ? 2 : 1;
  return Buffer.concat([header, frame.slice(ETHERNET_HEADER)]);
}

/** The Ethernet address of a node's link; of its overlay's device where there is no Ethernet, none. */
export async function macOf(netns: Netns, link: string): Promise<string> {
  const [found] = await netns.query("link", "show", "dev", link);
  const mac = String(found?.address ?? "");
  return mac.split(":").length === 6 ? mac : "02:00:00:00:00:00";
}

const SENDER = `
import socket, sys
address, port, source, data = sys.argv[1], int(sys.argv[2]), sys.argv[3], bytes.fromhex(sys.argv[4])
s = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
if source:
    s.bind((source, 0))
s.sendto(data, (address, port) + ((0, socket.if_nametoindex("eth0")) if address.startswith("ff") else ()))
`;

/** Sends a datagram from an ordinary socket, which takes no capability. */
export async function sendDatagram(
  netns: Netns,
  to: { readonly address: string; readonly port?: number; readonly source?: string },
  payload: Uint8Array,
): Promise<void> {
  const hex = Buffer.from(payload).toString("hex");
  const words = [to.address, `${to.port ?? OVERLAY_PORT}`, to.source ?? "", hex];
  await netns.exec("/usr/bin/python3", ["-I", "-S", "-c", SENDER, ...words]);
}

/** A frame around a tunnel's payload, for senders with CAP_NET_RAW. */
export function outerFrame(outer: {
  readonly sourceMac: string;
  readonly destinationMac: string;
  readonly source: string;
  readonly destination: string;
  readonly port?: number;
  readonly payload: Uint8Array;
}): Uint8Array {
  const { sourceMac, destinationMac, source, destination, payload } = outer;
  const destinationPort = outer.port ?? OVERLAY_PORT;
  return udpFrame({ sourceMac, destinationMac, source, destination, sourcePort: 4000, destinationPort, text: payload });
}

/** The same IPv4 packet in two fragments, of which the first ends behind the UDP header. */
export function fragments(frame: Uint8Array): Uint8Array[] {
  const head = Buffer.from(frame.slice(0, ETHERNET_HEADER + 20));
  const body = Buffer.from(frame.slice(ETHERNET_HEADER + 20));
  const part = (flags: number, content: Uint8Array): Uint8Array => {
    const ip = Buffer.from(head);
    ip.writeUInt16BE(20 + content.length, ETHERNET_HEADER + 2);
    ip.writeUInt16BE(0x4242, ETHERNET_HEADER + 4);
    ip.writeUInt16BE(flags, ETHERNET_HEADER + 6);
    ip.writeUInt16BE(0, ETHERNET_HEADER + 10);
    let sum = 0;
    for (let at = ETHERNET_HEADER; at < ETHERNET_HEADER + 20; at += 2) sum += ip.readUInt16BE(at);
    while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
    ip.writeUInt16BE(~sum & 0xffff, ETHERNET_HEADER + 10);
    return Buffer.concat([ip, content]);
  };
  return [part(0x2000, body.subarray(0, 8)), part(1, body.subarray(8))];
}

/** The texts that a pod has got since the last look, once an honest one has come: what was sent before has come as well. */
export async function heard(cluster: Cluster, victim: Pod, honest: Netns, address = victim.v4): Promise<string[]> {
  /* The first packets on a way may be lost while its links come up. */
  const question = { netns: honest, address, port: 80, protocol: "udp", text: "honest", timeoutMs: 1000 } as const;
  await until(async () => (await cluster.traffic.ask(question)).includes("saw"), 5000);
  const seen = await cluster.traffic.seen(victim.netns, `pod-${victim.node.number}`);
  return [...new Set(seen.map(([, text]) => text))].sort();
}
