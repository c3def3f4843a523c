/**
 * Nodes in namespaces of their own on two segments with a router between them, and a host outside: what a cluster stands
 * on. Nothing here needs a test runner.
 *
 *   node 1, 2, 3: 172.31.0.1, .2, .3 --- .254 ROUTER .254 --- node 4, 5: 172.31.1.4, .5
 *                                              .254
 *                                        198.51.100.2 outside
 *
 * Node n has the pods 10.244.n.0/24 and fd44:0:0:n::/64; underlay addresses in IPv6 are fd31:0:0:s::n. The outside knows
 * nothing of pods.
 */
import type { JsonObject } from "./call.ts";
import { Netns } from "./netns.ts";

export type Family = 4 | 6;

/** A line of the peers file. */
export interface PeerRecord {
  readonly nodeIP: string;
  readonly podCIDRs: readonly string[];
  readonly mac?: string;
}

export interface Node {
  readonly number: number;
  readonly netns: Netns;
}

/** Which names the namespaces get: those of tests, or just "node1" in a machine within the machine. */
export type Names = "unique" | "plain";

const ROUTER_HOST = 254;
const OUTSIDE = { v4: "198.51.100.2", v6: "2001:db8:51::2" };

export class Topology {
  readonly nodes: Node[] = [];
  /** The IP version between the nodes. */
  readonly underlay: Family;
  readonly #names: Names;
  readonly #segments: Netns[] = [];
  #router: Netns | null = null;
  #outside: Netns | null = null;
  #generation = 0;
  #cables = 0;

  protected constructor(underlay: Family, names: Names) {
    this.underlay = underlay;
    this.#names = names;
  }

  /** Segments, router and nodes. */
  static async build(count: number, names: Names): Promise<Topology> {
    const topology = new Topology(4, names);
    await topology.furnish(count);
    return topology;
  }

  /** Removes all of it. */
  async remove(): Promise<void> {
    const all = [...this.nodes.map((node) => node.netns), ...this.#segments, this.#router, this.#outside];
    await Promise.all(all.map((netns) => netns?.remove()));
  }

  protected async furnish(count: number): Promise<void> {
    const router = await this.namespace("router");
    this.#router = router;
    await router.exec("sh", [
      "-ec",
      `ip link set lo up
       echo 1 > /proc/sys/net/ipv4/ip_forward
       echo 0 > /proc/sys/net/ipv6/conf/default/accept_dad
       echo 1 > /proc/sys/net/ipv6/conf/all/forwarding`,
    ]);
    for (const segment of [0, 1]) {
      const bridge = await this.namespace("segment", `${segment}`);
      this.#segments.push(bridge);
      await bridge.ip("link", "add", "br0", "type", "bridge");
      await bridge.ip("link", "set", "br0", "up");
      await this.#plug(router, `seg${segment}`, segment, ROUTER_HOST);
    }
    for (let number = 1; number <= count; number += 1) await this.addNode(number);
  }

  /** One more namespace, named by what it is. */
  protected async namespace(label: string, suffix = ""): Promise<Netns> {
    return this.#names === "plain" ? Netns.named(label + suffix) : Netns.create(label);
  }

  /** A cable from a host to a segment's switch, and the host's addresses on it. */
  async #plug(host: Netns, link: string, segment: number, number: number): Promise<void> {
    const bridge = this.#segments[segment];
    if (bridge === undefined) throw new Error(`no segment ${segment}`);
    /* Another name each time: a namespace that was removed takes a moment to take its cables along. */
    this.#cables += 1;
    const port = `cable${this.#cables}`;
    await bridge.ip("link", "add", port, "type", "veth", "peer", "name", link, "netns", host.name);
    await bridge.ip("link", "set", port, "master", "br0", "up");
    await host.ip("address", "add", `172.31.${segment}.${number}/24`, "dev", link);
    await host.ip("address", "add", `fd31:0:0:${segment}::${number}/64`, "dev", link, "nodad");
    await host.ip("link", "set", link, "up");
    /* Asking makes the kernel notice now that the carrier is there; else it takes a second, and IPv6 waits for it. */
    await Promise.all([host.query("link", "show", "dev", link), bridge.query("link", "show", "dev", port)]);
  }

  /** A node that nobody knows of yet. One of a number that was there before is that node after a reboot. */
  async addNode(number: number): Promise<Node> {
    const segment = segmentOf(number);
    const netns = await this.namespace(`node${number}`);
    const node = { number, netns };
    this.nodes.push(node);
    await netns.exec("sh", ["-ec", "ip link set lo up; echo 0 > /proc/sys/net/ipv6/conf/default/accept_dad"]);
    await this.#plug(netns, "eth0", segment, number);
    await netns.ip("route", "add", "default", "via", `172.31.${segment}.${ROUTER_HOST}`);
    await netns.ip("-6", "route", "add", "default", "via", `fd31:0:0:${segment}::${ROUTER_HOST}`);
    /* The router asks for a node before it forwards to it, and a lost question is repeated after a second only. */
    for (const gateway of [`172.31.${segment}.${ROUTER_HOST}`, `fd31:0:0:${segment}::${ROUTER_HOST}`]) {
      if (!(await netns.ping(gateway))) throw new Error(`node ${number} does not reach its router ${gateway}`);
    }
    return node;
  }

  /** A host behind the router that is no node. */
  async outside(): Promise<Netns> {
    if (this.#outside !== null) return this.#outside;
    const router = this.#router;
    if (router === null) throw new Error("no router");
    const host = await this.namespace("outside");
    this.#outside = host;
    await router.ip("link", "add", "out", "type", "veth", "peer", "name", "eth0", "netns", host.name);
    await router.ip("address", "add", "198.51.100.254/24", "dev", "out");
    await router.ip("address", "add", "2001:db8:51::254/64", "dev", "out", "nodad");
    await router.ip("link", "set", "out", "up");
    await host.ip("link", "set", "lo", "up");
    await host.ip("address", "add", `${OUTSIDE.v4}/24`, "dev", "eth0");
    await host.ip("address", "add", `${OUTSIDE.v6}/64`, "dev", "eth0", "nodad");
    await host.ip("link", "set", "eth0", "up");
    await host.ip("route", "add", "default", "via", "198.51.100.254");
    await host.ip("-6", "route", "add", "default", "via", "2001:db8:51::254");
    for (const gateway of ["198.51.100.254", "2001:db8:51::254"]) {
      if (!(await host.ping(gateway))) throw new Error(`the outside does not reach its router ${gateway}`);
    }
    return host;
  }

  /** The outside's address. */
  outsideIp(family: Family = 4): string {
    return family === 4 ? OUTSIDE.v4 : OUTSIDE.v6;
  }

  /** Makes the router's way to the second segment narrower, which no node knows of. */
  async narrow(mtu: number): Promise<void> {
    await this.#router?.ip("link", "set", "seg1", "mtu", `${mtu}`);
  }

  /** The node's namespace goes as in a power cut. */
  async killNode(node: Node): Promise<void> {
    this.nodes.splice(this.nodes.indexOf(node), 1);
    await node.netns.remove();
  }

  node(number: number): Node {
    const found = this.nodes.find((node) => node.number === number);
    if (found === undefined) throw new Error(`no node ${number}`);
    return found;
  }

  /** A node's address between the nodes. */
  nodeIp(number: number, family = this.underlay): string {
    const segment = segmentOf(number);
    return family === 4 ? `172.31.${segment}.${number}` : `fd31:0:0:${segment}::${number}`;
  }

  record(number: number, more: Partial<PeerRecord> = {}): PeerRecord {
    return { nodeIP: this.nodeIp(number), podCIDRs: [`10.244.${number}.0/24`, `fd44:0:0:${number}::/64`], ...more };
  }

  /** The text of a peers file. */
  peersText(records: readonly PeerRecord[], header: JsonObject = {}): string {
    this.#generation += 1;
    const first = { generation: this.#generation, complete: true, peers: records.length, ...header };
    return [first, ...records].map((line) => `${JSON.stringify(line)}\n`).join("");
  }
}

function segmentOf(number: number): number {
  return number >= 4 && number < 254 ? 1 : 0;
}
