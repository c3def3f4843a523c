/**
 * A node with pods, as the portmap and masquerade suites need it: a host namespace with the bridge cni0, a client beyond
 * one uplink, a server beyond another, and pods attached by real calls of `bridge` and `portmap` in a chain.
 *
 *   client 192.0.2.2 --- 192.0.2.1  NODE  198.51.100.1 --- 198.51.100.2 server (also 10.88.1.50, a pod elsewhere)
 *                    203.0.113.1   10.88.0.1 cni0
 *                               pods 10.88.0.2, ... and fd88::2, ...
 *
 * Which executables are called is PODWIRE_BIN's matter; with those of the reference suite the laboratory itself is tried.
 */
import { rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { expect } from "vitest";
import {
  binDirectory,
  type CallOptions,
  type CallResult,
  expectSuccess,
  type JsonObject,
  Netns,
  runProgram,
  Sandbox,
  until,
} from "../../testbed/harness.ts";
import { type Protocol, type Question, Traffic } from "./traffic.ts";

export type Family = 4 | 6;

/**
 * For tests in which a namespace has gone: one of another program on the machine may get its number. Then the plugin is in
 * doubt, and rightly takes the holder for alive.
 */
export const ANY_NUMBER = { retry: 2 };

/** The addresses of the laboratory: [IPv4, IPv6]. */
const ADDRESSES = {
  /** The node's address on the client's link. */
  node: ["192.0.2.1", "2001:db8:1::1"],
  /** One more there, of another network: routes to it go by way of the node. */
  second: ["203.0.113.1", "2001:db8:3::1"],
  client: ["192.0.2.2", "2001:db8:1::2"],
  serverSide: ["198.51.100.1", "2001:db8:2::1"],
  server: ["198.51.100.2", "2001:db8:2::2"],
  /** A pod of another node, reached by way of `server`. */
  remotePod: ["10.88.1.50", "fd88:1::50"],
  gateway: ["10.88.0.1", "fd88::1"],
  localhost: ["127.0.0.1", "::1"],
  any: ["0.0.0.0", "::"],
} as const;

export function addressOf(name: keyof typeof ADDRESSES, family: Family): string {
  return ADDRESSES[name][family === 4 ? 0 : 1];
}

/** A port mapping as runtimes write it. */
export interface Mapping {
  readonly hostPort: number;
  readonly containerPort: number;
  readonly protocol?: string;
  readonly hostIP?: string;
}

/** A pod on the bridge: what ADD of the chain printed, and the addresses out of it. */
export interface Pod {
  readonly netns: Netns;
  readonly containerId: string;
  readonly ifname: string;
  /** What `bridge` printed: the prevResult of portmap's ADD. */
  readonly bridged: JsonObject;
  /** What the chain printed: the prevResult of CHECK and DEL. */
  result: JsonObject;
  readonly v4: string;
  readonly v6: string;
}

export interface PodOptions {
  readonly mappings?: readonly Mapping[];
  /** Further keys of portmap's configuration; null attaches to the bridge alone. */
  readonly portmap?: JsonObject | null;
  /** Further keys of bridge's configuration. */
  readonly bridge?: JsonObject;
  readonly netns?: Netns;
  readonly ifname?: string;
  readonly containerId?: string;
  /** Starts servers with this label on port 80 of all protocols. */
  readonly label?: string;
}

export interface NodeOptions {
  /** net.bridge.bridge-nf-call-iptables and -ip6tables: whether frames that stay on the bridge pass the packet filter. */
  readonly bridgeNf?: boolean;
  /** Keys that every portmap configuration gets: the backend. */
  readonly portmap?: JsonObject;
  /** Keys that every configuration of the plugin that makes the interface gets. */
  readonly bridge?: JsonObject;
  /** The plugin that makes the interface: bridge if it is left out. */
  readonly main?: Main;
}

export type Main = "bridge" | "ptp";

const POD_PORT = 80;
const BRIDGE = "cni0";

export class Node {
  readonly sandbox: Sandbox;
  readonly client: Netns;
  readonly server: Netns;
  readonly traffic = new Traffic();
  /** The network's name. */
  readonly network = "pwt-net";
  readonly #options: NodeOptions;
  readonly #extra: Netns[] = [];

  private constructor(sandbox: Sandbox, client: Netns, server: Netns, options: NodeOptions) {
    this.sandbox = sandbox;
    this.client = client;
    this.server = server;
    this.#options = options;
  }

  static async create(options: NodeOptions = {}): Promise<Node> {
    const [sandbox, client, server] = await Promise.all([
      Sandbox.create(),
      Netns.create("client"),
      Netns.create("server"),
    ]);
    /* The kernel gives the numbers of namespaces again; what a killed run has left under this one's is nobody's. */
    const stale = await recordsOf(sandbox.host);
    if (stale !== null) await rm(stale, { recursive: true, force: true });
    const node = new Node(sandbox, client, server, options);
    try {
      await node.#furnish(options.bridgeNf ?? true);
    } catch (error) {
      await node.remove();
      throw error;
    }
    return node;
  }

  get host(): Netns {
    return this.sandbox.host;
  }

  async remove(): Promise<void> {
    await this.traffic.stop();
    /* First the records: once the namespace is gone, its number may be another laboratory's. */
    const records = await recordsOf(this.host);
    if (records !== null) await rm(records, { recursive: true, force: true });
    await this.sandbox.remove();
    await Promise.all([this.client, this.server, ...this.#extra].map((netns) => netns.remove()));
  }

  async #furnish(bridgeNf: boolean): Promise<void> {
    const value = bridgeNf ? 1 : 0;
    const noDad = "for file in default all; do echo 0 > /proc/sys/net/ipv6/conf/$file/accept_dad; done";
    const others = [this.client, this.server].map((netns) => netns.exec("sh", ["-ec", noDad]));
    const host = this.host.exec("sh", [
      "-ec",
      `${noDad}
       for family in ip ip6; do
         file=/proc/sys/net/bridge/bridge-nf-call-\${family}tables
         [ ! -e $file ] || echo ${value} > $file
       done
       echo 1 > /proc/sys/net/ipv4/ip_forward
       echo 1 > /proc/sys/net/ipv6/conf/all/forwarding`,
    ]);
    await Promise.all([host, ...others]);
    await Promise.all([
      this.#wire("up0", this.client, ["node", "second"], ["client"]),
      this.#wire("up1", this.server, ["serverSide"], ["server", "remotePod"]),
    ]);
    await this.#batch(this.host, [
      `route add 10.88.1.0/24 via ${addressOf("server", 4)}`,
      `route add fd88:1::/64 via ${addressOf("server", 6)}`,
    ]);
  }

  /** A veth pair between the node and another host, whose default route goes to the node. */
  async #wire(
    link: string,
    other: Netns,
    near: readonly (keyof typeof ADDRESSES)[],
    far: readonly (keyof typeof ADDRESSES)[],
  ): Promise<void> {
    const addresses = (names: readonly (keyof typeof ADDRESSES)[], device: string): string[] =>
      names.flatMap((name) => [
        `address add ${addressOf(name, 4)}/${name === "remotePod" ? 32 : 24} dev ${device}`,
        `address add ${addressOf(name, 6)}/${name === "remotePod" ? 128 : 64} dev ${device} nodad`,
      ]);
    const [first = "node"] = near;
    await this.#batch(this.host, [
      `link add ${link} type veth peer name eth0 netns ${other.name}`,
      ...addresses(near, link),
      `link set ${link} up`,
    ]);
    await this.#batch(other, [
      "link set lo up",
      ...addresses(far, "eth0"),
      "link set eth0 up",
      `route add default via ${addressOf(first, 4)}`,
      `route add default via ${addressOf(first, 6)}`,
    ]);
    await Promise.all([speaksIpv6(this.host, link), speaksIpv6(other, "eth0")]);
  }

  async #batch(netns: Netns, commands: readonly string[]): Promise<void> {
    await netns.exec("ip", ["-batch", "-"], { input: commands.map((command) => `${command}\n`).join("") });
  }

  /** The plugin that makes the interface. */
  get main(): Main {
    return this.#options.main ?? "bridge";
  }

  /** Its part of the network. */
  bridgeConfig(extra: JsonObject = {}): JsonObject {
    const isBridge = this.main === "bridge";
    return {
      cniVersion: "1.1.0",
      name: this.network,
      type: this.main,
      ...(isBridge ? { bridge: BRIDGE, isDefaultGateway: true, hairpinMode: true } : {}),
      ipMasq: false,
      ipam: {
        type: "host-local",
        dataDir: this.sandbox.dataDir,
        ranges: [[{ subnet: "10.88.0.0/24" }], [{ subnet: "fd88::/64" }]],
        ...(isBridge ? {} : { routes: [{ dst: "0.0.0.0/0" }, { dst: "::/0" }] }),
      },
      ...this.#options.bridge,
      ...extra,
    };
  }

  /** portmap's part, without prevResult. */
  portmapConfig(mappings: readonly Mapping[] | null, extra: JsonObject = {}): JsonObject {
    return {
      cniVersion: "1.1.0",
      name: this.network,
      type: "portmap",
      capabilities: { portMappings: true },
      ...this.#options.portmap,
      ...(mappings === null ? {} : { runtimeConfig: { portMappings: mappings } }),
      ...extra,
    };
  }

  /** A new namespace that is removed with the laboratory. */
  async namespace(label = "pod"): Promise<Netns> {
    const netns = await Netns.create(label);
    this.#extra.push(netns);
    return netns;
  }

  /** Calls a plugin for a pod or for a namespace that is to become one. */
  async call(
    plugin: Main | "portmap" | "bandwidth" | "firewall",
    command: string,
    pod: Pick<Pod, "netns" | "containerId" | "ifname">,
    config: JsonObject,
    options: Partial<CallOptions> = {},
  ): Promise<CallResult> {
    const { netns, containerId, ifname } = pod;
    return this.sandbox.call({ plugin, command, containerId, ifname, netns: netns.path, config, ...options });
  }

  /** Attaches to the bridge only. */
  async bridged(options: PodOptions = {}): Promise<Pod> {
    const netns = options.netns ?? (await this.namespace());
    const who = { netns, containerId: options.containerId ?? netns.name, ifname: options.ifname ?? "eth0" };
    if (options.netns === undefined) await netns.ip("link", "set", "lo", "up");
    const bridged = expectSuccess(await this.call(this.main, "ADD", who, this.bridgeConfig(options.bridge)));
    const [v4 = "", v6 = ""] = ((bridged.ips ?? []) as JsonObject[]).map(
      (ip) => String(ip.address).split("/")[0] ?? "",
    );
    if (options.label !== undefined) await this.traffic.serveAll(netns, options.label, POD_PORT);
    return { ...who, bridged, result: bridged, v4, v6 };
  }

  /** Attaches to the bridge and publishes ports; ADD must succeed. */
  async pod(options: PodOptions = {}): Promise<Pod> {
    const pod = await this.bridged(options);
    if (options.portmap !== null) {
      pod.result = expectSuccess(await this.publish(pod, options.mappings ?? [], options.portmap));
    }
    return pod;
  }

  /** portmap's ADD for a pod on the bridge. */
  async publish(pod: Pod, mappings: readonly Mapping[] | null, extra: JsonObject = {}): Promise<CallResult> {
    const config = this.portmapConfig(mappings, { prevResult: pod.bridged, ...extra });
    return this.call("portmap", "ADD", pod, config);
  }

  async check(pod: Pod, mappings: readonly Mapping[] | null, extra: JsonObject = {}): Promise<CallResult> {
    return this.call("portmap", "CHECK", pod, this.portmapConfig(mappings, { prevResult: pod.result, ...extra }));
  }

  /** portmap's DEL as a runtime does it, which must succeed and say nothing. */
  async unpublish(pod: Pod, mappings: readonly Mapping[] | null, extra: JsonObject = {}): Promise<void> {
    const config = this.portmapConfig(mappings, { prevResult: pod.result, ...extra });
    const result = await this.call("portmap", "DEL", pod, config);
    expectSuccess(result);
    expect(result.stdout).toBe("");
  }

  /** DEL of the whole chain, last plugin first, and the end of the namespace. */
  async removePod(pod: Pod, mappings: readonly Mapping[] | null = null, options: PodOptions = {}): Promise<void> {
    await this.traffic.close(pod.netns);
    if (options.portmap !== null) await this.unpublish(pod, mappings, options.portmap);
    const config = this.bridgeConfig({ prevResult: pod.result, ...options.bridge });
    expectSuccess(await this.call(this.main, "DEL", pod, config));
    await pod.netns.remove();
  }

  /** The namespace goes without any DEL, as when a node's runtime loses its state. */
  async kill(pod: Pod): Promise<void> {
    await this.traffic.close(pod.netns);
    await pod.netns.remove();
  }

  /** One attempt; see `Traffic.ask`. */
  async ask(
    netns: Netns,
    address: string,
    port: number,
    protocol: Protocol = "tcp",
    more: Partial<Question> = {},
  ): Promise<string> {
    return this.traffic.ask({ netns, address, port, protocol, ...more });
  }

  /** Runs nft on the node. */
  async nft(...args: string[]): Promise<string> {
    return this.host.exec("nft", args);
  }

  /** The connections the node knows, as "udp 192.0.2.2 192.0.2.1 40000 8080"; null where the kernel does not tell. */
  async flows(): Promise<string[] | null> {
    const text = await this.host.exec("cat", ["/proc/net/nf_conntrack"]).catch(() => null);
    if (text === null) return null;
    const flow = /^\S+ +\d+ (\S+) .*?src=(\S+) dst=(\S+) sport=(\d+) dport=(\d+)/;
    return text
      .split("\n")
      .map((line) => flow.exec(line)?.slice(1).join(" ") ?? "")
      .filter((line) => line !== "");
  }

  /** The command that puts back what is missing in the packet filter, for a person or a timer. */
  async repair(): Promise<CallResult> {
    const command = [`--net=${this.host.path}`, "--", join(binDirectory, "portmap"), "repair"];
    const started = performance.now();
    const { exitCode, signal, stdout, stderr } = await runProgram("nsenter", command, { reject: false });
    const durationMs = performance.now() - started;
    /* It talks to people: what it prints is no CNI result. */
    return { exitCode, signal, stdout: "", stderr: stdout + stderr, json: undefined, durationMs };
  }

  /** Everything in the node's packet filter, both kinds of tables, without counters. */
  async ruleset(): Promise<string> {
    return this.nft("--stateless", "list", "ruleset");
  }
}

/** Waits for a link's own IPv6 address: without it the kernel asks for no neighbour on behalf of others. */
async function speaksIpv6(netns: Netns, link: string): Promise<void> {
  const ready = await until(async () => {
    /* Asking makes the kernel notice now that the carrier is there; else it takes a second. */
    await netns.query("link", "show", "dev", link);
    const [shown] = await netns.query("-6", "address", "show", "dev", link, "scope", "link");
    return ((shown?.addr_info ?? []) as JsonObject[]).some((address) => address.tentative !== true);
  }, 5000);
  if (!ready) throw new Error(`${link} got no IPv6 address of its own in 5 s`);
}

/** Where Podwire keeps what a node has in its packet filter: by the number of its network namespace. */
export async function recordsOf(host: Netns): Promise<string | null> {
  const status = await stat(host.path).catch(() => null);
  return status === null ? null : `/run/podwire/net-${status.ino}`;
}

/** Both ways in which mappings are put into the packet filter. The suites say the same of both. */
export const BACKENDS = ["nftables", "iptables"] as const;
export type Backend = (typeof BACKENDS)[number];

/** Runs a test on a node of its own. */
export async function withNode(options: NodeOptions, test: (node: Node) => Promise<void>): Promise<void> {
  const node = await Node.create(options);
  try {
    await test(node);
  } finally {
    await node.remove();
  }
}
