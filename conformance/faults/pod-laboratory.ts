/**
 * A node with a neighbour, whose attachment must outlive everything, and a pod, for bridge and what stands behind it. Or a
 * cold node: nobody is on it, and what the first pod makes for all is missing each time.
 */
import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { type CallOptions, expectSuccess, type JsonObject, type Netns } from "../../testbed/harness.ts";
import { type Main, Node, type Pod, recordsOf } from "../plugins/portmap-lab.ts";
import { Laboratory, nameAddresses, type Repeated, type Verb, withNames } from "./laboratory.ts";
import { numbered, snapshot } from "./snapshot.ts";

/** A plugin with what it is configured to do. */
export interface PodSubject {
  readonly plugin: string;
  /** The plugin that makes the interface. */
  readonly main: Main;
  /** Further keys of its configuration. */
  readonly bridge: JsonObject;
  /** Whether it has made the interface before; the plugin's configuration then. */
  readonly chained: ((pod: "neighbour" | "pod") => JsonObject) | null;
  readonly repeated: Repeated;
  /** Whether GC leaves to bridge's GC what goes with the links. */
  readonly linksGoLast: boolean;
  /** Whether it changes the pod's own interface, and keeps what that was before. */
  readonly tunes?: boolean;
  readonly cold: boolean;
}

/** A namespace, and what bridge has printed for it. */
interface Place {
  readonly netns: Netns;
  readonly bridged: JsonObject | null;
}

export class PodLaboratory extends Laboratory {
  readonly #subject: PodSubject;
  readonly #node: Node;
  readonly #containerId = "pod-under-test";
  readonly #neighbour: Pod | null;
  readonly delCompletes = true;
  readonly gcCompletes = false;
  #records = "";
  #place: Place;
  #spare: Place;

  private constructor(subject: PodSubject, node: Node, neighbour: Pod | null, place: Place, spare: Place) {
    super();
    this.#subject = subject;
    this.#node = node;
    this.#neighbour = neighbour;
    this.#place = place;
    this.#spare = spare;
  }

  static async create(subject: PodSubject): Promise<PodLaboratory> {
    const node = await Node.create({ bridge: subject.bridge, main: subject.main });
    try {
      const neighbour = subject.cold ? null : await node.bridged({ containerId: "neighbour" });
      const place = await placeFor(node, subject, "pod-under-test");
      const spare = await placeFor(node, subject, "spare");
      const laboratory = new PodLaboratory(subject, node, neighbour, place, spare);
      await laboratory.#furnish();
      return laboratory;
    } catch (error) {
      await node.remove();
      throw error;
    }
  }

  async #furnish(): Promise<void> {
    this.#records = (await recordsOf(this.#node.host)) ?? "/nonexistent";
    const { chained, plugin, cold } = this.#subject;
    if (this.#neighbour !== null && chained !== null) {
      const { containerId, netns, bridged } = this.#neighbour;
      const config = { ...this.#base("neighbour"), prevResult: bridged };
      const options = { plugin, command: "ADD", containerId, netns: netns.path, ifname: "eth0", config };
      expectSuccess(await this.#node.sandbox.call(options));
    }
    if (cold) return;
    /* What the first attachment makes and leaves for all. */
    await this.add();
    await this.del(null);
  }

  /** Where it is kept what was before. */
  get #tuned(): string {
    return join(this.#node.sandbox.directory, "tuned");
  }

  get directory(): string {
    return this.#node.sandbox.directory;
  }

  get repeated(): Repeated {
    return this.#subject.repeated;
  }

  /** The link that the pod had is gone with its namespace then, or bridge's to remove. */
  get survivesItsPod(): boolean {
    return this.#subject.chained === null;
  }

  get gcStandsAlone(): boolean {
    return !this.#subject.linksGoLast;
  }

  async remove(): Promise<void> {
    await this.#node.remove();
  }

  /** A cold node before an ADD: no rules, no records, no leases; no bridge and no forwarding, if they are bridge's to make. */
  async prepare(verb: Verb): Promise<void> {
    if (!this.#subject.cold || verb !== "ADD") return;
    const ownBridge = this.#subject.chained === null;
    const script = `
      nft flush ruleset
      ${ownBridge ? "ip link delete cni0 2> /dev/null" : ""}
      cd /proc/sys/net
      ${ownBridge ? "echo 0 > ipv4/ip_forward; echo 0 > ipv6/conf/all/forwarding" : "echo 0 > ipv4/conf/cni0/route_localnet"}
      true`;
    await this.#node.host.exec("sh", ["-c", script]);
    await rm(this.#records, { recursive: true, force: true });
    if (!ownBridge) return;
    await rm(this.#node.sandbox.dataDir, { recursive: true, force: true });
    await mkdir(this.#node.sandbox.dataDir, { recursive: true });
  }

  #base(pod: "neighbour" | "pod"): JsonObject {
    const { chained, plugin } = this.#subject;
    if (chained === null) return this.#node.bridgeConfig();
    const places = this.#subject.tunes === true ? { dataDir: this.#tuned } : {};
    return { cniVersion: "1.1.0", name: this.#node.network, type: plugin, ...chained(pod), ...places };
  }

  /** The configuration of a call; `result` is what ADD printed, if it came so far. */
  #config(verb: Verb, result: JsonObject | null): JsonObject {
    const base = this.#base("pod");
    if (verb === "GC") {
      const valid = this.#neighbour === null ? [] : [{ containerID: this.#neighbour.containerId, ifname: "eth0" }];
      return { ...base, "cni.dev/valid-attachments": valid };
    }
    const previous = (verb === "ADD" ? null : result) ?? this.#place.bridged;
    return previous === null ? base : { ...base, prevResult: previous };
  }

  options(verb: Verb, result: JsonObject | null): CallOptions {
    return {
      plugin: this.#subject.plugin,
      command: verb,
      containerId: this.#containerId,
      netns: this.#place.netns.path,
      ifname: "eth0",
      config: this.#config(verb, result),
      inside: this.#node.host,
    };
  }

  /** GC of the plugin, and of bridge where that is to take the rest: the pod's link goes and is made anew. */
  override async gc(): Promise<void> {
    await super.gc();
    if (!this.#subject.linksGoLast) return;
    const valid = ["neighbour", "spare"].map((containerID) => ({ containerID, ifname: "eth0" }));
    const config = { ...this.#node.bridgeConfig(), "cni.dev/valid-attachments": valid };
    const who = { netns: this.#place.netns, containerId: this.#containerId, ifname: "eth0" };
    expectSuccess(await this.#node.call(this.#subject.main, "GC", who, config));
    this.#place = await placeFor(this.#node, this.#subject, this.#containerId, this.#place.netns);
  }

  move(): void {
    [this.#place, this.#spare] = [this.#spare, this.#place];
  }

  async state(result: JsonObject | null): Promise<string[]> {
    const names = new Map<string, string>();
    const isFirst = this.#subject.chained === null;
    nameAddresses(names, isFirst ? result : null, "ADDRESS");
    nameAddresses(names, this.#place.bridged, "POD");
    nameAddresses(names, this.#spare.bridged, "SPARE");
    const { host, sandbox } = this.#node;
    const tuned = this.#subject.tunes === true;
    const lines = await snapshot({
      node: host,
      /* What stands behind bridge mostly does nothing inside. */
      pods: isFirst || tuned ? { pod: this.#place.netns, spare: this.#spare.netns } : {},
      files: { "records/": this.#records, "leases/": sandbox.dataDir, "tuned/": this.#tuned },
      overlay: false,
      tuned,
    });
    const port = hostLinkOf(this.#place.bridged);
    const named = lines.map((line) => (port !== "" && line.startsWith("element") ? line.replace(port, "PORT") : line));
    return numbered(withNames(named, names));
  }
}

/** The node's end of the pod's link, "" without one: elements name it, and it is another one in another namespace. */
function hostLinkOf(bridged: JsonObject | null): string {
  const links = ((bridged?.interfaces ?? []) as JsonObject[]).map(({ name }) => String(name));
  return links.find((name) => name.startsWith("veth")) ?? "";
}

async function placeFor(node: Node, subject: PodSubject, containerId: string, existing?: Netns): Promise<Place> {
  const netns = existing ?? (await node.namespace());
  if (existing === undefined) await netns.ip("link", "set", "lo", "up");
  if (subject.chained === null) return { netns, bridged: null };
  return { netns, bridged: (await node.bridged({ netns, containerId })).bridged };
}
