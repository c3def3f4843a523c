/**
 * A cluster, as the overlay's suites need it: the nodes of topology.ts, each with a bridge and pods attached by real calls
 * of `bridge` and `vxlan-overlay` in a chain, or of `vxlan-overlay` alone.
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
} from "../../testbed/harness.ts";
import { type Family, type Node, type PeerRecord, Topology } from "../../testbed/topology.ts";
import { Traffic } from "./traffic.ts";

export type { Family, Node, PeerRecord } from "../../testbed/topology.ts";
export type Datapath = "classic" | "gpe";

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

export class Cluster extends Topology {
  readonly directory: string;
  readonly traffic = new Traffic();
  readonly datapath: Datapath;
  readonly #options: ClusterOptions;
  readonly #pods: Netns[] = [];

  private constructor(directory: string, options: ClusterOptions) {
    super(options.underlay ?? 4, "unique");
    this.directory = directory;
    this.#options = options;
    this.datapath = options.datapath ?? "classic";
  }

  /** Makes the nodes and writes the peers file with all of them. */
  static async create(options: ClusterOptions = {}): Promise<Cluster> {
    const cluster = new Cluster(await temporaryDirectory(), options);
    try {
      await cluster.furnish(options.nodes ?? 2);
      await cluster.writePeers(cluster.nodes.map((node) => cluster.record(node.number)));
    } catch (error) {
      await cluster.remove();
      throw error;
    }
    return cluster;
  }

  override async remove(): Promise<void> {
    await this.traffic.stop();
    await Promise.all(this.#pods.map((netns) => netns.remove()));
    await super.remove();
    await rm(this.directory, { recursive: true, force: true });
  }

  override async killNode(node: Node): Promise<void> {
    await this.traffic.close(node.netns);
    await super.killNode(node);
  }

  get peersFile(): string {
    return join(this.directory, "peers.ndjson");
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
    const netns = await this.namespaceForPod();
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
    const netns = await this.namespaceForPod();
    const who = { containerId: netns.name, netns: netns.path, ifname: "eth0" };
    const result = expectSuccess(await this.call(node, "ADD", { delegate: this.delegate(node) }, who));
    return this.#served(node, netns, result);
  }

  /** A pod that only `bridge` knows of so far. */
  async bridged(node: Node, extra: JsonObject): Promise<Pod> {
    const netns = await this.namespaceForPod();
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

  /** A pod's namespace, removed with the cluster. */
  async namespaceForPod(): Promise<Netns> {
    const netns = await Netns.create("pod");
    this.#pods.push(netns);
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

/** Runs a test with a cluster of its own. */
export async function withCluster(options: ClusterOptions, test: (cluster: Cluster) => Promise<void>): Promise<void> {
  const cluster = await Cluster.create(options);
  try {
    await test(cluster);
  } finally {
    await cluster.remove();
  }
}
