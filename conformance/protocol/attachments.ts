/** Real attachments of every plugin at every version, with whatever the plugin needs before it in its chain. */
import {
  type CallOptions,
  type CallResult,
  expectSuccess,
  type JsonObject,
  type Netns,
  type Sandbox,
} from "../../testbed/harness.ts";
import { type PluginName, SUBNET, validConfig } from "./fixtures.ts";

/** The plugins that a chain cannot begin with: bridge attaches their pods first. */
export const CHAINED: readonly PluginName[] = ["bandwidth", "firewall", "portmap", "tuning"];
/** The plugins that make the interface CNI_IFNAME. */
export const MAKERS: readonly PluginName[] = ["bridge", "ptp", "vxlan-overlay"];

const PORTS = [{ hostPort: 8080, containerPort: 80, protocol: "tcp" }];
/** Nothing that a result tells. */
const TUNED = { sysctl: { "net.ipv4.conf.IFNAME.arp_announce": "2" }, txQLen: 500, allmulti: true };
const LIMITS = { ingressRate: 8_000_000, ingressBurst: 800_000, egressRate: 8_000_000, egressBurst: 800_000 };

/** A pod that a plugin attaches, changes or gives an address to, and the calls for it. */
export class Attachment {
  readonly plugin: PluginName;
  readonly version: string;
  readonly pod: Netns;
  readonly containerId: string;
  readonly ifname: string;
  /** What the plugin before it in the chain has printed. */
  previous: JsonObject | null = null;
  readonly #sandbox: Sandbox;

  constructor(plugin: PluginName, version: string, sandbox: Sandbox, pod: Netns, containerId = pod.name) {
    this.plugin = plugin;
    this.version = version;
    this.pod = pod;
    this.containerId = containerId;
    this.ifname = plugin === "loopback" ? "lo" : "eth0";
    this.#sandbox = sandbox;
  }

  /** The configuration, without a previous result. */
  get config(): JsonObject {
    const config = validConfig(this.plugin, this.version, this.#sandbox);
    if (this.plugin === "bridge") return this.#bridge;
    if (this.plugin === "portmap") return { ...config, runtimeConfig: { portMappings: PORTS } };
    if (this.plugin === "bandwidth") return { ...config, runtimeConfig: { bandwidth: LIMITS } };
    if (this.plugin === "firewall") return { ...config, ingressPolicy: this.#policy };
    if (this.plugin === "tuning") return { ...config, ...TUNED };
    return config;
  }

  /** A policy is the bridge's, which results of old versions do not name. */
  get #policy(): string {
    return this.version < "0.3.0" ? "open" : "isolated";
  }

  get #bridge(): JsonObject {
    const ipam = { type: "host-local", subnet: SUBNET, dataDir: this.#sandbox.dataDir };
    return { ...validConfig("bridge", this.version, this.#sandbox), ipam };
  }

  /** Has bridge attach the pod of a plugin that needs that. */
  async prepare(): Promise<void> {
    if (!CHAINED.includes(this.plugin)) return;
    this.previous = expectSuccess(await this.call("ADD", {}, { plugin: "bridge", config: this.#bridge }));
  }

  /** Takes back what `prepare` did. */
  async finish(): Promise<void> {
    if (this.previous === null) return;
    this.previous = null;
    expectSuccess(await this.call("DEL", {}, { plugin: "bridge", config: this.#bridge }));
  }

  /** The names of GC's list that are this attachment. */
  get valid(): JsonObject {
    return { "cni.dev/valid-attachments": [{ containerID: this.containerId, ifname: this.ifname }] };
  }

  /** Calls the plugin. `more` are further keys of the configuration, `options` change the call. */
  async call(command: string, more: JsonObject = {}, options: Partial<CallOptions> = {}): Promise<CallResult> {
    const previous = this.previous === null ? {} : { prevResult: this.previous };
    return this.#sandbox.call({
      plugin: this.plugin,
      command,
      containerId: this.containerId,
      netns: this.pod.path,
      ifname: this.ifname,
      config: { ...this.config, ...previous, ...more },
      ...options,
    });
  }
}

/** Breaks what ADD made, as somebody might by hand: CHECK has to find it. */
export async function spoil(attachment: Attachment, sandbox: Sandbox): Promise<void> {
  const { plugin, pod, ifname } = attachment;
  if (plugin === "loopback") await pod.ip("link", "set", "lo", "down");
  else if (plugin === "portmap" || plugin === "firewall") await sandbox.host.exec("nft", ["flush", "ruleset"]);
  else if (plugin === "bandwidth") {
    const link = (await sandbox.host.links()).find((name) => name.startsWith("veth")) ?? "";
    await sandbox.host.exec("tc", ["qdisc", "del", "dev", link, "root"]);
  } else if (plugin === "host-local") {
    await attachment.call("DEL");
  } else await pod.ip("link", "del", ifname);
}
