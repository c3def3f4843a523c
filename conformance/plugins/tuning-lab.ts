/** Shared by the tuning suites: pods behind a bridge, what they are tuned to, and the records that are kept of it. */
import { readdir, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import {
  type CallOptions,
  type CallResult,
  expectSuccess,
  type JsonObject,
  type Netns,
  type Sandbox,
  withSandbox,
} from "../../testbed/harness.ts";

/** A pod that bridge has attached. */
export interface TunedPod {
  readonly netns: Netns;
  readonly containerId: string;
  readonly ifname: string;
  readonly bridged: JsonObject;
}

/** What can be tuned of a link. */
export interface Attributes {
  readonly mac: string;
  readonly mtu: number;
  readonly txQLen: number;
  readonly promisc: boolean;
  readonly allmulti: boolean;
}

export interface InterfaceEntry {
  readonly name: string;
  readonly mac?: string;
  readonly mtu?: number;
  readonly sandbox?: string;
}

export const SYSCTL = "net.ipv4.conf.IFNAME.arp_announce";
export const SYSCTL_FILE = "net/ipv4/conf/eth0/arp_announce";
export const MAC = "02:00:00:00:0a:0b";

export class TuningLab {
  readonly sandbox: Sandbox;

  constructor(sandbox: Sandbox) {
    this.sandbox = sandbox;
  }

  /** Where records are kept. */
  get records(): string {
    return join(this.sandbox.directory, "run", "tuning");
  }

  #bridge(version: string): JsonObject {
    const ranges = [[{ subnet: "10.88.0.0/24" }], [{ subnet: "fd88::/64" }]];
    const ipam = { type: "host-local", dataDir: this.sandbox.dataDir, ranges };
    return { cniVersion: version, name: "pwt-net", type: "bridge", bridge: "pwt0", ipam };
  }

  /** A pod behind bridge. */
  async pod(options: Partial<TunedPod> & { version?: string } = {}): Promise<TunedPod> {
    const netns = options.netns ?? (await this.sandbox.pod());
    const { containerId = netns.name, ifname = "eth0", version = "1.1.0" } = options;
    const call = { plugin: "bridge", command: "ADD", containerId, ifname, netns: netns.path };
    const bridged = expectSuccess(await this.sandbox.call({ ...call, config: this.#bridge(version) }));
    return { netns, containerId, ifname, bridged };
  }

  /** bridge takes the pod's interface away. */
  async detach({ netns, containerId, ifname }: TunedPod): Promise<void> {
    const call = { plugin: "bridge", command: "DEL", containerId, ifname, netns: netns.path };
    expectSuccess(await this.sandbox.call({ ...call, config: this.#bridge("1.1.0") }));
  }

  config(more: JsonObject): JsonObject {
    return { cniVersion: "1.1.0", name: "pwt-net", type: "tuning", dataDir: this.records, ...more };
  }

  /** Calls tuning with a pod's variables. */
  async call(
    command: string,
    pod: Omit<TunedPod, "bridged">,
    more: JsonObject,
    options: Partial<CallOptions> = {},
  ): Promise<CallResult> {
    const { netns, containerId, ifname } = pod;
    const who = ["GC", "STATUS"].includes(command) ? {} : { containerId, ifname, netns: netns.path };
    return this.sandbox.call({ plugin: "tuning", command, config: this.config(more), ...who, ...options });
  }

  /** ADD behind bridge. */
  async add(pod: TunedPod, more: JsonObject, options: Partial<CallOptions> = {}): Promise<CallResult> {
    return this.call("ADD", pod, { prevResult: pod.bridged, ...more }, options);
  }

  /** A pod that is tuned. */
  async tuned(more: JsonObject): Promise<TunedPod & { result: JsonObject; before: Attributes }> {
    const pod = await this.pod();
    const before = await attributesOf(pod);
    return { ...pod, before, result: expectSuccess(await this.add(pod, more)) };
  }

  /** The names of the records. */
  async recordNames(): Promise<string[]> {
    return (await readdir(this.records).catch(() => [] as string[])).sort();
  }

  recordPath({ containerId, ifname }: Omit<TunedPod, "bridged">): string {
    return join(this.records, `${containerId}_${ifname}.json`);
  }

  async record(pod: TunedPod): Promise<JsonObject> {
    return JSON.parse(await readFile(this.recordPath(pod), "utf8")) as JsonObject;
  }

  async writeRecord(pod: TunedPod, text: string): Promise<void> {
    await writeFile(this.recordPath(pod), text, { mode: 0o600 });
  }

  async modeOf(path: string): Promise<string> {
    return ((await stat(path)).mode & 0o7777).toString(8);
  }
}

export function withLab(test: (lab: TuningLab) => Promise<void>): Promise<void> {
  return withSandbox((sandbox) => test(new TuningLab(sandbox)));
}

export async function attributesOf({ netns, ifname }: Omit<TunedPod, "bridged">): Promise<Attributes> {
  const [link = {}] = await netns.query("link", "show", "dev", ifname);
  const flags = link.flags as string[];
  return {
    mac: String(link.address),
    mtu: Number(link.mtu),
    /* ip does not tell of a 0. */
    txQLen: Number(link.txqlen ?? 0),
    promisc: flags.includes("PROMISC"),
    allmulti: flags.includes("ALLMULTI"),
  };
}

export function insideOf(result: JsonObject): InterfaceEntry {
  const found = (result.interfaces as InterfaceEntry[]).find((item) => item.sandbox !== undefined);
  if (found === undefined) throw new Error("no interface of a container");
  return found;
}

/** Starts a plugin on a node with this list of allowed sysctls. Nothing in /etc is anything to the plugins otherwise. */
export function withAllowList(text: string): readonly string[] {
  const script = `mount -t tmpfs none /etc
    mkdir -p /etc/cni/tuning
    printf '%s' "$0" >/etc/cni/tuning/allowlist.conf
    exec "$@"`;
  return ["/usr/bin/unshare", "--mount", "sh", "-ec", script, text];
}

/** The same with something in place of the list that cannot be read. */
export const UNREADABLE_LIST: readonly string[] = [
  ...["/usr/bin/unshare", "--mount", "sh", "-ec"],
  'mount -t tmpfs none /etc; mkdir -p /etc/cni/tuning/allowlist.conf; exec "$@"',
  "sh",
];

/** Starts a plugin with a /proc/sys that cannot be written. */
export const READ_ONLY_PROC: readonly string[] = [
  ...["/usr/bin/unshare", "--mount", "sh", "-ec"],
  'mount --bind /proc/sys /proc/sys; mount -o remount,bind,ro /proc/sys; exec "$@"',
  "sh",
];
