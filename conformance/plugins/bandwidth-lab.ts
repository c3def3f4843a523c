/** Shared by the bandwidth suites: pods with limits on the node of portmap-lab.ts, what tc shows of them, and iperf3. */
import { setTimeout as sleep } from "node:timers/promises";
import { execa } from "execa";
import {
  type CallOptions,
  type CallResult,
  expectSuccess,
  type JsonObject,
  type Netns,
} from "../../testbed/harness.ts";
import { addressOf, type Family, Node, type Pod, type PodOptions } from "./portmap-lab.ts";

/** What runtimes send for a burst that nobody has asked for. */
export const CONTAINERD_BURST = 4294967295;
export const CRIO_BURST = 34359738360;

export interface Limits {
  readonly ingressRate?: number;
  readonly ingressBurst?: number;
  readonly egressRate?: number;
  readonly egressBurst?: number;
}

/** The same limit both ways, as containerd asks for it. */
export function both(rate: number, burst = CONTAINERD_BURST): Limits {
  return { ingressRate: rate, ingressBurst: burst, egressRate: rate, egressBurst: burst };
}

/** A root queueing discipline that limits a rate, as tc tells it: bits a second and bytes. */
export interface Bucket {
  readonly link: string;
  readonly rate: number;
  readonly burst: number;
}

export class ShapedNode {
  readonly node: Node;
  readonly #ends: (() => void)[] = [];

  private constructor(node: Node) {
    this.node = node;
  }

  static async create(): Promise<ShapedNode> {
    return new ShapedNode(await Node.create());
  }

  async remove(): Promise<void> {
    for (const end of this.#ends) end();
    await this.node.remove();
  }

  config(limits: Limits | null, extra: JsonObject = {}): JsonObject {
    return {
      cniVersion: "1.1.0",
      name: this.node.network,
      type: "bandwidth",
      capabilities: { bandwidth: true },
      ...(limits === null ? {} : { runtimeConfig: { bandwidth: limits } }),
      ...extra,
    };
  }

  async call(
    command: string,
    pod: Pick<Pod, "netns" | "containerId" | "ifname">,
    config: JsonObject,
    options: Partial<CallOptions> = {},
  ): Promise<CallResult> {
    const { netns, containerId, ifname } = pod;
    return this.node.sandbox.call({
      ...{ plugin: "bandwidth", command, containerId, ifname, netns: netns.path, config },
      ...options,
    });
  }

  /** A pod on the bridge with limits; its `result` is what bandwidth printed. */
  async pod(limits: Limits, extra: JsonObject = {}, options: PodOptions = {}): Promise<Pod> {
    const pod = await this.node.bridged(options);
    await this.limit(pod, limits, extra);
    return pod;
  }

  /** ADD for a pod on the bridge; it must succeed. */
  async limit(pod: Pod, limits: Limits, extra: JsonObject = {}): Promise<void> {
    pod.result = expectSuccess(await this.call("ADD", pod, this.config(limits, { prevResult: pod.bridged, ...extra })));
  }

  async check(pod: Pod, limits: Limits, extra: JsonObject = {}): Promise<CallResult> {
    return this.call("CHECK", pod, this.config(limits, { prevResult: pod.result, ...extra }));
  }

  async del(pod: Pod, limits: Limits | null, extra: JsonObject = {}): Promise<CallResult> {
    return this.call("DEL", pod, this.config(limits, { prevResult: pod.result, ...extra }));
  }

  /** The host's end of a pod's interface. */
  hostLink(pod: Pod): string {
    const interfaces = pod.bridged.interfaces as { name: string; sandbox?: string }[];
    const link = interfaces.find((item) => item.sandbox === undefined && item.name.startsWith("veth"));
    return link?.name ?? "";
  }

  /** The names of the ifb links that are there. */
  async ifbs(netns: Netns = this.node.host): Promise<string[]> {
    const links = await netns.query("link", "show", "type", "ifb");
    return links.map((link) => String(link.ifname)).sort();
  }

  /** The token buckets that are some link's root. */
  async buckets(netns: Netns = this.node.host): Promise<Bucket[]> {
    const text = await netns.exec("tc", ["-j", "qdisc", "show"]);
    const found = JSON.parse(text) as { kind: string; dev: string; options: { rate: number; burst: number } }[];
    return found
      .filter(({ kind }) => kind === "tbf")
      .map(({ dev, options }) => ({ link: dev, rate: options.rate * 8, burst: options.burst }));
  }

  async tc(...args: string[]): Promise<string> {
    return this.node.host.exec("tc", args);
  }

  /** Starts an iperf3 server behind the node. */
  async serve(): Promise<void> {
    const process = execa("nsenter", [`--net=${this.node.server.path}`, "--", "iperf3", "-s", "-J"], {
      reject: false,
      stdout: "ignore",
    });
    this.#ends.push(() => process.kill("SIGKILL"));
    for (let attempt = 0; attempt < 50; attempt += 1) {
      const listening = await this.node.server.exec("ss", ["-ltnH", "sport = :5201"]);
      if (listening.trim() !== "") return;
      await sleep(50);
    }
    throw new Error("iperf3 does not listen");
  }

  /** What the receiver got in each second, in Mbit/s, of what is sent as fast as it goes; UDP a third faster than `megabits`. */
  async send(pod: Pod, direction: "ingress" | "egress", transfer: Transfer): Promise<number[]> {
    const { protocol, family, megabits, seconds } = transfer;
    /* Of the server's IPv6 addresses the one that it would answer a pod from. */
    const server = addressOf(family === 4 ? "server" : "remotePod", family);
    const args = ["-c", server, "-J", "--get-server-output", "-t", `${seconds}`];
    if (direction === "ingress") args.push("-R");
    if (protocol === "udp") args.push("-u", "-w", "4M", "-b", `${Math.round(megabits * 1.3e6)}`);
    const text = await pod.netns.exec("iperf3", args, { timeout: 60_000 });
    type Intervals = { readonly sum: { readonly bits_per_second: number } }[];
    const report = JSON.parse(text) as { intervals: Intervals; server_output_json: { intervals: Intervals } };
    const intervals = direction === "ingress" ? report.intervals : report.server_output_json.intervals;
    return intervals.slice(0, seconds).map(({ sum }) => sum.bits_per_second / 1e6);
  }
}

export interface Transfer {
  readonly protocol: "tcp" | "udp";
  readonly family: Family;
  readonly megabits: number;
  readonly seconds: number;
}

export function average(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
