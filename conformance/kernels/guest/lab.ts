/** A node with pods on a bridge, IPv4 only, for machines that lack what other suites' nodes are made of. */
import {
  type CallOptions,
  type CallResult,
  expectSuccess,
  type JsonObject,
  type Netns,
  Sandbox,
} from "../../../testbed/harness.ts";
import { Traffic } from "../../plugins/traffic.ts";

export const BRIDGE = "pwt0";
const PORTS = [{ hostPort: 8080, containerPort: 80, protocol: "tcp" }];

/** What each plugin of a chain gets besides the name and version. */
const CONFIGURATIONS = {
  bridge: { bridge: BRIDGE, isDefaultGateway: true },
  portmap: { capabilities: { portMappings: true }, runtimeConfig: { portMappings: PORTS } },
  bandwidth: { ingressRate: 10_000_000, ingressBurst: 500_000, egressRate: 10_000_000, egressBurst: 500_000 },
} as const;

export type Plugin = keyof typeof CONFIGURATIONS;

export class SmallNode {
  readonly sandbox: Sandbox;
  readonly traffic = new Traffic();

  private constructor(sandbox: Sandbox) {
    this.sandbox = sandbox;
  }

  static async create(): Promise<SmallNode> {
    return new SmallNode(await Sandbox.create());
  }

  get host(): Netns {
    return this.sandbox.host;
  }

  async remove(): Promise<void> {
    await this.traffic.stop();
    await this.sandbox.remove();
  }

  config(plugin: Plugin, extra: JsonObject = {}): JsonObject {
    const ipam = { type: "host-local", dataDir: this.sandbox.dataDir, ranges: [[{ subnet: "10.77.0.0/24" }]] };
    return {
      ...{ cniVersion: "1.1.0", name: "pwt-net", type: plugin },
      ...(plugin === "bridge" ? { ipam } : {}),
      ...CONFIGURATIONS[plugin],
      ...extra,
    };
  }

  /** Calls a plugin for a pod. */
  async run(plugin: Plugin, command: string, pod: Netns, extra: JsonObject = {}): Promise<CallResult> {
    return this.call({ plugin, command, ...this.who(pod), config: this.config(plugin, extra) });
  }

  who(pod: Netns): Pick<CallOptions, "containerId" | "netns" | "ifname"> {
    return { containerId: pod.name, netns: pod.path, ifname: "eth0" };
  }

  async call(options: CallOptions): Promise<CallResult> {
    return this.sandbox.call(options);
  }

  /** A pod on the bridge, and what the bridge plugin printed. */
  async pod(extra: JsonObject = {}): Promise<{ pod: Netns; result: JsonObject }> {
    const pod = await this.sandbox.pod();
    await pod.ip("link", "set", "lo", "up");
    return { pod, result: expectSuccess(await this.run("bridge", "ADD", pod, extra)) };
  }
}

/** The IPv4 address that a result gives. */
export function addressOf(result: JsonObject): string {
  const [ip] = result.ips as { address: string }[];
  return ip?.address.split("/")[0] ?? "";
}

export async function withNode(test: (node: SmallNode) => Promise<void>): Promise<void> {
  const node = await SmallNode.create();
  try {
    await test(node);
  } finally {
    await node.remove();
  }
}
