/**
 * A network as a runtime runs it: a list of plugins, called one after another, each with what the one before it has said.
 * On a node of the packet filter's laboratory, with room for more than a thousand pods.
 */
import type { CallResult, JsonObject, Netns } from "../../testbed/harness.ts";
import { Node } from "../plugins/portmap-lab.ts";

const VERSION = "1.1.0";
const MEGABIT = 1e6;
/** The pods' networks, of this node and of all nodes. */
const PODS = ["10.92.0.0/21", "fd92::/64"];
const OTHERS = ["10.96.0.0/21", "fd96::/64"];
/** Published ports begin here. */
export const FIRST_PORT = 20_000;

/** What a runtime has to do with. `index` tells pods apart, and is part of what they publish. */
export interface Member {
  readonly index: number;
  readonly containerId: string;
  netns: Netns;
  /** What ADD printed; null without one. */
  result: JsonObject | null;
}

/** A call that failed, and of which plugin. */
export interface Failure {
  readonly plugin: string;
  readonly verb: string;
  readonly code: number;
  readonly text: string;
}

/** An ADD, DEL, CHECK or GC of all plugins: null if it succeeded. */
export type Outcome = Failure | null;

export class Chain {
  readonly node: Node;
  /** All calls so far, and the longest of them. */
  calls = 0;
  longestMs = 0;

  private constructor(node: Node) {
    this.node = node;
  }

  static async create(): Promise<Chain> {
    return new Chain(await Node.create());
  }

  /** bridge with masquerade and spoof checks, an overlay, published ports, limits, isolated pods: everything that keeps state. */
  #plugins(): JsonObject[] {
    const ranges = PODS.map((subnet) => [{ subnet }]);
    const bridge = this.node.bridgeConfig({
      ipMasq: true,
      nonMasqueradeCIDRs: [...PODS, ...OTHERS],
      macspoofchk: true,
      ipam: { type: "host-local", dataDir: this.node.sandbox.dataDir, ranges },
    });
    const overlay = {
      type: "vxlan-overlay",
      podCIDRs: PODS,
      clusterCIDRs: [...PODS, ...OTHERS],
      masquerade: false,
      underlay: "192.0.2.1",
      peers: [{ nodeIP: "192.0.2.2", podCIDRs: OTHERS }],
    };
    const behind = [{ type: "portmap" }, { type: "firewall", ingressPolicy: "isolated" }, { type: "bandwidth" }];
    return [bridge, overlay, ...behind].map((plugin) => ({
      ...plugin,
      cniVersion: VERSION,
      name: this.node.network,
    }));
  }

  async #call(plugin: JsonObject, verb: string, member: Member | null, extra: JsonObject): Promise<CallResult> {
    const type = String(plugin.type);
    const who = member === null ? {} : { containerId: member.containerId, netns: member.netns.path, ifname: "eth0" };
    const runtimeConfig = member === null ? {} : { runtimeConfig: wishes(type, member.index) };
    const config = { ...plugin, ...runtimeConfig, ...extra };
    const result = await this.node.sandbox.call({ plugin: type, command: verb, config, ...who, timeoutMs: 120_000 });
    this.calls += 1;
    this.longestMs = Math.max(this.longestMs, result.durationMs);
    return result;
  }

  /** All plugins; a failure leaves it to the caller to DEL. */
  async add(member: Member): Promise<Outcome> {
    let result: JsonObject | null = null;
    for (const plugin of this.#plugins()) {
      const answer = await this.#call(plugin, "ADD", member, result === null ? {} : { prevResult: result });
      if (answer.exitCode !== 0 || answer.json === undefined) return failureOf(plugin, "ADD", answer);
      result = answer.json;
    }
    member.result = result;
    return null;
  }

  /** The last plugin first, and all of them, whatever one says. @returns the first failure */
  async del(member: Member): Promise<Outcome> {
    const extra = member.result === null ? {} : { prevResult: member.result };
    return this.#all("DEL", this.#plugins().reverse(), member, extra);
  }

  async check(member: Member): Promise<Outcome> {
    return this.#all("CHECK", this.#plugins(), member, { prevResult: member.result });
  }

  /** @param valid the attachments that live on */
  async gc(valid: readonly Member[]): Promise<Outcome> {
    const list = valid.map(({ containerId }) => ({ containerID: containerId, ifname: "eth0" }));
    return this.#all("GC", this.#plugins(), null, { "cni.dev/valid-attachments": list });
  }

  async #all(verb: string, plugins: readonly JsonObject[], member: Member | null, extra: JsonObject): Promise<Outcome> {
    let first: Outcome = null;
    for (const plugin of plugins) {
      const answer = await this.#call(plugin, verb, member, extra);
      if (answer.exitCode !== 0) first ??= failureOf(plugin, verb, answer);
    }
    return first;
  }
}

function failureOf(plugin: JsonObject, verb: string, { exitCode, signal, json, stdout, stderr }: CallResult): Failure {
  const text = `exit status ${exitCode}, signal ${signal}: ${stdout.slice(0, 500)} ${stderr.slice(0, 500)}`;
  return { plugin: String(plugin.type), verb, code: Number(json?.code ?? Number.NaN), text };
}

/** What a runtime passes on to a plugin for one pod. */
function wishes(type: string, index: number): JsonObject {
  const hostPort = FIRST_PORT + 2 * index;
  if (type === "bandwidth") return { bandwidth: { ingressRate: 100 * MEGABIT, egressRate: 50 * MEGABIT } };
  if (type !== "portmap") return {};
  return {
    portMappings: [
      { hostPort, containerPort: 80, protocol: "tcp" },
      { hostPort: hostPort + 1, containerPort: 80, protocol: "udp" },
    ],
  };
}
