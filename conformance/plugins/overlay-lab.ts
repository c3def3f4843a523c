/**
 * A cluster, as the overlay's suites need it: nodes in namespaces of their own on two segments with a router between them,
 * each with a bridge and pods attached by real calls of `bridge` and `vxlan-overlay` in a chain, and a host outside.
 *
 *   node 1, 2, 3: 172.31.0.1, .2, .3 --- .254 ROUTER .254 --- node 4, 5: 172.31.1.4, .5
 *                                              .254
 *                                        198.51.100.2 outside
 *
 * Node n has the pods 10.244.n.0/24 and fd44:0:0:n::/64; underlay addresses in IPv6 are fd31:0:0:s::n.
 */
import { rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import {
  type CallOptions,
  type CallResult,
  call,
  expectSuccess,
  type JsonObject,
  Netns,
  temporaryDirectory,
} from "../harness.ts";
import { Traffic } from "./traffic.ts";

export type Family = 4 | 6;
export type Datapath = "classic" | "gpe";

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

/** A pod and what the chain printed of it. */
export interface Pod {
  readonly node: Node;
  readonly netns: Netns;
  readonly v4: string;
  readonly v6: string;
  readonly result: JsonObject;
}

export interface ClusterOptions {
  readonly nodes?: number;
  readonly datapath?: Datapath;
  /** The IP version between the nodes. */
  readonly underlay?: Family;
  /** Further keys of the overlay's configuration. */
  readonly overlay?: JsonObject;
}

const POD_PORT = 80;

export class Cluster {
  readonly directory: string;
  readonly traffic = new Traffic();
  readonly nodes: Node[] = [];
  readonly datapath: Datapath;
  readonly underlay: Family;
  readonly #options: ClusterOptions;
  readonly #segments: Netns[] = [];
  readonly #others: Netns[] = [];
  #router: Netns | null = null;
  #generation = 0;
  #cables = 0;

  private constructor(directory: string, options: ClusterOptions) {
    this.directory = directory;
    this.#options = options;
    this.datapath = options.datapath ?? "classic";
    this.underlay = options.underlay ?? 4;
  }

  /** Makes the nodes and writes the peers file with all of them. */
  static async create(options: ClusterOptions = {}): Promise<Cluster> {
    const cluster = new Cluster(await temporaryDirectory(), options);
    try {
      await cluster.#furnish(options.nodes ?? 2);
      await cluster.writePeers(cluster.nodes.map((node) => cluster.record(node.number)));
    } catch (error) {
      await cluster.remove();
      throw error;
    }
    return cluster;
  }

  async remove(): Promise<void> {
    await this.traffic.stop();
    const all = [...this.nodes.map((node) => node.netns), ...this.#others, ...this.#segments, this.#router];
    await Promise.all(all.map((netns) => netns?.remove()));
    await rm(this.directory, { recursive: true, force: true });
  }

  async #furnish(count: number): Promise<void> {
    const router = await Netns.create("router");
    this.#router = router;
    await router.exec("sh", [
      "-ec",
      `ip link set lo up
       echo 1 > /proc/sys/net/ipv4/ip_forward
       echo 0 > /proc/sys/net/ipv6/conf/default/accept_dad
       echo 1 > /proc/sys/net/ipv6/conf/all/forwarding`,
    ]);
    for (const segment of [0, 1]) {
      const bridge = await Netns.create("segment");
      this.#segments.push(bridge);
      await bridge.ip("link", "add", "br0", "type", "bridge");
      await bridge.ip("link", "set", "br0", "up");
      await this.#plug(router, `seg${segment}`, segment, 254);
    }
    for (let number = 1; number <= count; number += 1) await this.addNode(number);
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
    const netns = await Netns.create(`node${number}`);
    const node = { number, netns };
    this.nodes.push(node);
    await netns.exec("sh", ["-ec", "ip link set lo up; echo 0 > /proc/sys/net/ipv6/conf/default/accept_dad"]);
    await this.#plug(netns, "eth0", segment, number);
    await netns.ip("route", "add", "default", "via", `172.31.${segment}.254`);
    await netns.ip("-6", "route", "add", "default", "via", `fd31:0:0:${segment}::254`);
    /* The router asks for a node before it forwards to it, and a lost question is repeated after a second only. */
    for (const gateway of [`172.31.${segment}.254`, `fd31:0:0:${segment}::254`]) {
      if (!(await netns.ping(gateway))) throw new Error(`node ${number} does not reach its router ${gateway}`);
    }
    return node;
  }

  /** Makes the router's way to the second segment narrower, which no node knows of. */
  async narrow(mtu: number): Promise<void> {
    await this.#router?.ip("link", "set", "seg1", "mtu", `${mtu}`);
  }

  /** The node's namespace goes as in a power cut. */
  async killNode(node: Node): Promise<void> {
    await this.traffic.close(node.netns);
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

  get peersFile(): string {
    return join(this.directory, "peers.ndjson");
  }

  /** The text of a peers file. */
  peersText(records: readonly PeerRecord[], header: JsonObject = {}): string {
    this.#generation += 1;
    const first = { generation: this.#generation, complete: true, peers: records.length, ...header };
    return [first, ...records].map((line) => `${JSON.stringify(line)}\n`).join("");
  }

  /** Replaces the peers file as its writers should. */
  async writePeers(records: readonly PeerRecord[], header: JsonObject = {}): Promise<void> {
    await this.replacePeers(this.peersText(records, header));
  }

  async replacePeers(text: string): Promise<void> {
    await writeFile(`${this.peersFile}.new`, text);
    await rename(`${this.peersFile}.new`, this.peersFile);
  }

  bridgeConfig(node: Node): JsonObject {
    const { number } = node;
    return {
      cniVersion: "1.1.0",
      name: "pwt-net",
      type: "bridge",
      bridge: "cni0",
      isDefaultGateway: true,
      hairpinMode: true,
      ipam: {
        type: "host-local",
        dataDir: join(this.directory, `leases-${number}`),
        ranges: [[{ subnet: `10.244.${number}.0/24` }], [{ subnet: `fd44:0:0:${number}::/64` }]],
      },
    };
  }

  overlayConfig(node: Node, extra: JsonObject = {}): JsonObject {
    return {
      cniVersion: "1.1.0",
      name: "pwt-net",
      type: "vxlan-overlay",
      podCIDRs: this.record(node.number).podCIDRs,
      peersFile: this.peersFile,
      datapath: this.datapath,
      ...this.#options.overlay,
      ...extra,
    };
  }

  /** Calls vxlan-overlay on a node. */
  async call(
    node: Node,
    command: string,
    extra: JsonObject = {},
    options: Partial<CallOptions> = {},
  ): Promise<CallResult> {
    const config = this.overlayConfig(node, extra);
    return call({ plugin: "vxlan-overlay", command, config, inside: node.netns, ...options });
  }

  /** For a pod: ADD with the result of `bridge`, CHECK and DEL with that of the chain. */
  async callFor(pod: Pod, command: string, extra: JsonObject = {}): Promise<CallResult> {
    const { netns } = pod;
    const who = { containerId: netns.name, netns: netns.path, ifname: "eth0" };
    return this.call(pod.node, command, { prevResult: pod.result, ...extra }, who);
  }

  /** STATUS, which must succeed: on a runtime it comes every few seconds, and brings the node up to date. */
  async tick(...nodes: readonly Node[]): Promise<void> {
    for (const node of nodes.length === 0 ? this.nodes : nodes) expectSuccess(await this.call(node, "STATUS"));
  }

  /** A new pod with a server that tells who asked, called pod-<node>. */
  async pod(node: Node, overlay: JsonObject = {}): Promise<Pod> {
    const netns = await this.#podNamespace();
    const who = { containerId: netns.name, netns: netns.path, ifname: "eth0", inside: node.netns };
    const bridged = expectSuccess(
      await call({ plugin: "bridge", command: "ADD", config: this.bridgeConfig(node), ...who }),
    );
    const result = expectSuccess(await this.call(node, "ADD", { prevResult: bridged, ...overlay }, who));
    return this.#served(node, netns, result);
  }

  /** What the plugin is to call when it stands alone. */
  delegate(node: Node): JsonObject {
    const { number } = node;
    return {
      ipam: {
        type: "host-local",
        dataDir: join(this.directory, `leases-${number}`),
        ranges: [[{ subnet: `10.244.${number}.0/24` }], [{ subnet: `fd44:0:0:${number}::/64` }]],
      },
    };
  }

  /** A pod made by vxlan-overlay alone. */
  async lonePod(node: Node): Promise<Pod> {
    const netns = await this.#podNamespace();
    const who = { containerId: netns.name, netns: netns.path, ifname: "eth0" };
    const result = expectSuccess(await this.call(node, "ADD", { delegate: this.delegate(node) }, who));
    return this.#served(node, netns, result);
  }

  /** A pod that only `bridge` knows of so far. */
  async bridged(node: Node, extra: JsonObject): Promise<Pod> {
    const netns = await this.#podNamespace();
    const who = { containerId: netns.name, netns: netns.path, ifname: "eth0", inside: node.netns };
    const config = { ...this.bridgeConfig(node), ...extra };
    const result = expectSuccess(await call({ plugin: "bridge", command: "ADD", config, ...who }));
    return this.#served(node, netns, result);
  }

  /** bridge's DEL. */
  async unbridge(pod: Pod): Promise<void> {
    const { netns, node } = pod;
    const who = { containerId: netns.name, netns: netns.path, ifname: "eth0", inside: node.netns };
    const config = { ...this.bridgeConfig(node), ipMasq: true };
    expectSuccess(await call({ plugin: "bridge", command: "DEL", config, ...who }));
  }

  async #podNamespace(): Promise<Netns> {
    const netns = await Netns.create("pod");
    this.#others.push(netns);
    await netns.ip("link", "set", "lo", "up");
    return netns;
  }

  async #served(node: Node, netns: Netns, result: JsonObject): Promise<Pod> {
    const [v4 = "", v6 = ""] = (result.ips as JsonObject[]).map((ip) => String(ip.address).split("/")[0] ?? "");
    await this.traffic.serveAll(netns, `pod-${node.number}`, POD_PORT);
    return { node, netns, v4, v6, result };
  }

  /** What a client in a namespace hears from a pod's server: "pod-2 saw 10.244.1.2". */
  async ask(from: Netns, address: string): Promise<string> {
    return this.traffic.ask({ netns: from, address, port: POD_PORT, protocol: "tcp" });
  }

  /** What a node holds for the overlay, one line each: routes, neighbours, forwarding entries. */
  async held(node: Node): Promise<string[]> {
    const lines = await Promise.all([
      node.netns.ip("route", "show", "proto", "112"),
      node.netns.ip("-6", "route", "show", "proto", "112"),
      node.netns.ip("neigh", "show", "nud", "permanent"),
      node.netns.exec("bridge", ["fdb", "show", "dev", "overlay1"]),
    ]);
    return lines
      .join("\n")
      .split("\n")
      .map((line) => line.trim())
      .filter((line) => line !== "" && !/^2[45]\d\./.test(line))
      .sort();
  }
}

function segmentOf(number: number): number {
  return number >= 4 && number < 254 ? 1 : 0;
}

/** Runs a test with a cluster of its own. */
export async function withCluster(options: ClusterOptions, test: (cluster: Cluster) => Promise<void>): Promise<void> {
  const cluster = await Cluster.create(options);
  try {
    await test(cluster);
  } finally {
    await cluster.remove();
  }
}
