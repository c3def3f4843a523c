/**
 * A node of a cluster whose list of peers changes before every call with a fault: what is right before and what is right
 * afterwards differ in all that they can. The pod is bridge's, with vxlan-overlay behind it in the chain, or vxlan-overlay's
 * own, which has bridge make it. Or a cold node: nothing of the overlay is there.
 */
import { rm, stat } from "node:fs/promises";
import {
  type CallOptions,
  type CallResult,
  call,
  expectSuccess,
  type JsonObject,
  Netns,
} from "../../testbed/harness.ts";
import { Cluster, type Datapath, type Node, type PeerRecord } from "../plugins/overlay-lab.ts";
import { Laboratory, nameAddresses, type Repeated, type Verb, withNames } from "./laboratory.ts";
import { numbered, STAMP, snapshot } from "./snapshot.ts";

export interface OverlaySubject {
  readonly datapath: Datapath;
  readonly delegate: boolean;
  readonly cold: boolean;
}

/** A namespace, and what bridge has printed for it. */
interface Place {
  readonly netns: Netns;
  readonly bridged: JsonObject | null;
}

const PLUGIN = "vxlan-overlay";
const DEVICE = "overlay1";
const FULL_MTU = 1500;
const NOT_REMOVED = /: setting |: mtu of (?!overlay1)/;

export class OverlayLaboratory extends Laboratory {
  readonly #subject: OverlaySubject;
  readonly #cluster: Cluster;
  readonly #node: Node;
  readonly #namespaces: Netns[] = [];
  readonly #containerId = "pod-under-test";
  readonly survivesItsPod = true;
  readonly delCompletes = false;
  readonly gcCompletes = true;
  readonly gcStandsAlone = true;
  /** /run/podwire's entry for the node, but for what it begins with. */
  #number = 0;
  #place: Place | null = null;
  #spare: Place | null = null;

  private constructor(subject: OverlaySubject, cluster: Cluster) {
    super();
    this.#subject = subject;
    this.#cluster = cluster;
    this.#node = cluster.node(1);
  }

  static async create(subject: OverlaySubject): Promise<OverlayLaboratory> {
    const cluster = await Cluster.create({ nodes: 1, datapath: subject.datapath });
    const laboratory = new OverlayLaboratory(subject, cluster);
    try {
      await laboratory.#furnish();
      return laboratory;
    } catch (error) {
      await laboratory.remove();
      throw error;
    }
  }

  async #furnish(): Promise<void> {
    this.#number = (await stat(this.#node.netns.path)).ino;
    await this.#cluster.writePeers(this.#lists().before);
    this.#place = await this.#newPlace("pod-under-test");
    if (this.#subject.delegate) {
      this.#spare = await this.#newPlace("spare");
      const neighbour = await this.#newPlace("neighbour");
      const more = { containerId: "neighbour", netns: neighbour.netns.path };
      expectSuccess(await this.call("ADD", null, more));
    }
    const result = await this.add();
    await this.del(result);
  }

  async #newPlace(containerId: string): Promise<Place> {
    const netns = await Netns.create("pod");
    this.#namespaces.push(netns);
    await netns.ip("link", "set", "lo", "up");
    if (this.#subject.delegate) return { netns, bridged: null };
    const config = this.#cluster.bridgeConfig(this.#node);
    const who = { containerId, netns: netns.path, ifname: "eth0", inside: this.#node.netns };
    return { netns, bridged: expectSuccess(await call({ plugin: "bridge", command: "ADD", config, ...who })) };
  }

  async remove(): Promise<void> {
    await rm(`/run/podwire/net-${this.#number}`, { recursive: true, force: true });
    await rm(`/run/podwire/overlay-${this.#number}`, { force: true });
    await Promise.all(this.#namespaces.map((netns) => netns.remove()));
    await this.#cluster.remove();
  }

  get directory(): string {
    return this.#cluster.directory;
  }

  /** bridge does not make what is there already. */
  get repeated(): Repeated {
    return this.#subject.delegate ? "fresh" : "same";
  }

  get #here(): Place {
    if (this.#place === null) throw new Error("not furnished");
    return this.#place;
  }

  /** Peers that come, go, move to another address, and have each other's networks of pods. */
  #lists(): { readonly before: PeerRecord[]; readonly after: PeerRecord[] } {
    const record = (number: number, more: Partial<PeerRecord> = {}): PeerRecord => this.#cluster.record(number, more);
    return {
      before: [record(1), record(2), record(3), record(5)],
      after: [
        record(1),
        record(2, { nodeIP: this.#cluster.nodeIp(22) }),
        record(4, { podCIDRs: record(3).podCIDRs }),
        record(3, { podCIDRs: ["10.244.9.0/24"] }),
        record(5),
      ],
    };
  }

  async prepare(verb: Verb): Promise<void> {
    const { cold, delegate } = this.#subject;
    const { before, after } = this.#lists();
    if (cold && verb === "ADD") {
      const script = `
        ip link delete ${DEVICE} 2> /dev/null
        nft flush ruleset
        echo 0 > /proc/sys/net/ipv4/ip_forward
        echo 0 > /proc/sys/net/ipv6/conf/all/forwarding`;
      await this.#node.netns.exec("sh", ["-c", script]);
      await rm(`/run/podwire/overlay-${this.#number}`, { force: true });
    } else {
      await this.#cluster.writePeers(before);
      await this.tick();
    }
    await this.#cluster.writePeers(after);
    if (!delegate && verb === "ADD") await this.#widen();
  }

  /** Gives the pod's links the MTU with which bridge has made them. */
  async #widen(): Promise<void> {
    const { netns, bridged } = this.#here;
    const names = ((bridged?.interfaces ?? []) as JsonObject[]).filter(({ sandbox }) => (sandbox ?? "") === "");
    const wide = (link: unknown): string => `link set ${link} mtu ${FULL_MTU}\n`;
    await Promise.all([
      netns.ip("link", "set", "eth0", "mtu", `${FULL_MTU}`),
      this.#node.netns.exec("ip", ["-batch", "-"], { input: names.map(({ name }) => wide(name)).join("") }),
    ]);
  }

  options(verb: Verb, result: JsonObject | null): CallOptions {
    const cluster = this.#cluster;
    const delegate = this.#subject.delegate ? { delegate: cluster.delegate(this.#node) } : {};
    const previous = (verb === "ADD" ? null : result) ?? this.#here.bridged;
    const valid = [{ containerID: "neighbour", ifname: "eth0" }];
    const extra = {
      ...delegate,
      ...(verb === "GC" ? { "cni.dev/valid-attachments": valid } : previous === null ? {} : { prevResult: previous }),
    };
    return {
      plugin: PLUGIN,
      command: verb,
      containerId: this.#containerId,
      netns: this.#here.netns.path,
      ifname: "eth0",
      config: cluster.overlayConfig(this.#node, extra),
      inside: this.#node.netns,
    };
  }

  /** The list is nowhere: what was known of the peers is kept, with a warning. */
  override readonly blind = async (): Promise<void> => {
    await rm(this.#cluster.peersFile);
  };

  override wasBlind({ stderr }: CallResult): boolean {
    return /^vxlan-overlay: .*peers\.ndjson/m.test(stderr);
  }

  override async tick(): Promise<void> {
    await this.#cluster.tick(this.#node);
  }

  move(): void {
    [this.#place, this.#spare] = [this.#spare, this.#place];
  }

  async state(result: JsonObject | null): Promise<string[]> {
    const names = new Map<string, string>();
    nameAddresses(names, this.#subject.delegate ? result : null, "ADDRESS");
    const lines = await snapshot({
      node: this.#node.netns,
      pods: { pod: this.#here.netns, ...(this.#spare === null ? {} : { spare: this.#spare.netns }) },
      files: {
        "records/": `/run/podwire/net-${this.#number}`,
        overlay: `/run/podwire/overlay-${this.#number}`,
        "leases/": `${this.#cluster.directory}/leases-1`,
      },
      overlay: true,
    });
    const marked = lines.map((line) => line.replace(/route 2[45]\d(\.\d+){3} .*/, STAMP));
    /* Forwarding and room in a pod's links are ADD's to look after, and stay when the pod has gone. */
    const known = result !== null ? marked : marked.filter((line) => !NOT_REMOVED.test(line));
    return numbered(withNames(known, names));
  }
}
