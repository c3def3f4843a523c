/** A node with a neighbour, whose attachment must outlive everything, and a pod that is attached and detached under faults. */
import { type CallResult, expectSuccess, type JsonObject, type Netns } from "../harness.ts";
import { Node, type Pod } from "../plugins/portmap-lab.ts";
import { snapshot } from "./snapshot.ts";
import { callTraced, type Traced } from "./strace.ts";

export type Verb = "ADD" | "DEL" | "GC" | "CHECK";

/** A plugin with what it is configured to do. */
export interface Subject {
  /** For the table and messages. */
  readonly name: string;
  readonly plugin: string;
  /** Further keys of bridge's configuration. */
  readonly bridge: JsonObject;
  /** Whether bridge has made the interface before; the plugin's configuration then. */
  readonly chained: ((pod: "neighbour" | "pod") => JsonObject) | null;
  /** Where an ADD is repeated: in another namespace, in the same one, or in one and the other by turns. */
  readonly repeated: "fresh" | "same" | "both";
  /** Whether GC leaves to bridge's GC what goes with the links. */
  readonly linksGoLast: boolean;
}

/** A namespace, and what bridge has printed for it. */
interface Place {
  readonly netns: Netns;
  readonly bridged: JsonObject | null;
}

export class Laboratory {
  readonly subject: Subject;
  readonly node: Node;
  readonly containerId = "pod-under-test";
  /** Where the pod is, and another place to try again in. */
  place: Place;
  spare: Place;
  #neighbour: Pod;

  private constructor(subject: Subject, node: Node, neighbour: Pod, place: Place, spare: Place) {
    this.subject = subject;
    this.node = node;
    this.#neighbour = neighbour;
    this.place = place;
    this.spare = spare;
  }

  static async create(subject: Subject): Promise<Laboratory> {
    const node = await Node.create({ bridge: subject.bridge });
    try {
      const neighbour = await node.bridged({ containerId: "neighbour" });
      const place = await placeFor(node, subject, "pod-under-test");
      const spare = await placeFor(node, subject, "spare");
      const laboratory = new Laboratory(subject, node, neighbour, place, spare);
      await laboratory.#attachNeighbour();
      /* What the first attachment makes and leaves for all. */
      await laboratory.add();
      await laboratory.del();
      return laboratory;
    } catch (error) {
      await node.remove();
      throw error;
    }
  }

  async #attachNeighbour(): Promise<void> {
    const { chained, plugin } = this.subject;
    if (chained === null) return;
    const { containerId, netns, bridged } = this.#neighbour;
    const config = { ...this.#base("neighbour"), prevResult: bridged };
    const options = { plugin, command: "ADD", containerId, netns: netns.path, ifname: "eth0", config };
    expectSuccess(await this.node.sandbox.call(options));
  }

  async remove(): Promise<void> {
    await this.node.remove();
  }

  #base(pod: "neighbour" | "pod"): JsonObject {
    const { chained, plugin } = this.subject;
    if (chained === null) return this.node.bridgeConfig();
    return { cniVersion: "1.1.0", name: this.node.network, type: plugin, ...chained(pod) };
  }

  /** The configuration of a call; `result` is what ADD printed, if it came so far. */
  #config(verb: Verb, result: JsonObject | null): JsonObject {
    const base = this.#base("pod");
    if (verb === "GC") {
      return { ...base, "cni.dev/valid-attachments": [{ containerID: this.#neighbour.containerId, ifname: "eth0" }] };
    }
    const previous = (verb === "ADD" ? null : result) ?? this.place.bridged;
    return previous === null ? base : { ...base, prevResult: previous };
  }

  #options(verb: Verb, result: JsonObject | null) {
    return {
      plugin: this.subject.plugin,
      command: verb,
      containerId: this.containerId,
      netns: this.place.netns.path,
      ifname: "eth0",
      config: this.#config(verb, result),
      inside: this.node.host,
    };
  }

  async call(verb: Verb, result: JsonObject | null = null, options: { netns?: string } = {}): Promise<CallResult> {
    return this.node.sandbox.call({ ...this.#options(verb, result), ...options });
  }

  async traced(verb: Verb, result: JsonObject | null, inject: readonly string[] = []): Promise<Traced> {
    return callTraced(this.node.sandbox.directory, this.#options(verb, result), inject);
  }

  async add(): Promise<JsonObject> {
    return expectSuccess(await this.call("ADD"));
  }

  async del(result: JsonObject | null = null, options: { netns?: string } = {}): Promise<void> {
    expectSuccess(await this.call("DEL", result, options));
  }

  /** GC of the plugin, and of bridge where that is to take the rest: the pod's link goes and is made anew. */
  async gc(): Promise<void> {
    expectSuccess(await this.call("GC"));
    if (!this.subject.linksGoLast) return;
    const valid = ["neighbour", "spare"].map((containerID) => ({ containerID, ifname: "eth0" }));
    const config = { ...this.node.bridgeConfig(), "cni.dev/valid-attachments": valid };
    const who = { netns: this.place.netns, containerId: this.containerId, ifname: "eth0" };
    expectSuccess(await this.node.call("bridge", "GC", who, config));
    this.place = await placeFor(this.node, this.subject, this.containerId, this.place.netns);
  }

  /** Goes to the other namespace. */
  move(): void {
    [this.place, this.spare] = [this.spare, this.place];
  }

  /** All that is there; the pod's own addresses are named, so that it does not matter which it has got. */
  async state(result: JsonObject | null = null): Promise<string[]> {
    const names = new Map<string, string>();
    const own = this.subject.chained === null ? result : null;
    ((own?.ips ?? []) as JsonObject[]).forEach((ip, i) => {
      names.set(String(ip.address).split("/")[0] ?? "", `ADDRESS${i}`);
    });
    const ours = this.place.bridged;
    ((ours?.ips ?? []) as JsonObject[]).forEach((ip, i) => {
      names.set(String(ip.address).split("/")[0] ?? "", `POD${i}`);
    });
    ((this.spare.bridged?.ips ?? []) as JsonObject[]).forEach((ip, i) => {
      names.set(String(ip.address).split("/")[0] ?? "", `SPARE${i}`);
    });
    /* What stands behind bridge does nothing inside. */
    const inside = this.subject.chained === null ? { pod: this.place.netns, spare: this.spare.netns } : {};
    const lines = await snapshot(this.node, inside);
    return lines.map((line) => named(line, names)).sort();
  }
}

function named(line: string, names: ReadonlyMap<string, string>): string {
  return line.replace(/[0-9a-f.:]+/g, (word) => names.get(word) ?? word);
}

async function placeFor(node: Node, subject: Subject, containerId: string, existing?: Netns): Promise<Place> {
  const netns = existing ?? (await node.namespace());
  if (existing === undefined) await netns.ip("link", "set", "lo", "up");
  if (subject.chained === null) return { netns, bridged: null };
  return { netns, bridged: (await node.bridged({ netns, containerId })).bridged };
}
