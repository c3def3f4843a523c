/** Lives of attachments: every verb of every plugin, with valid configurations and the results that ADDs have printed. */
import { configuration, peers, type Value } from "../protocol/configurations.ts";
import { PLACES } from "../protocol/fuzz-places.ts";
import type { Random } from "../protocol/random.ts";

type Config = { [key: string]: Value };

/** A call to make. */
export interface LifeCall {
  readonly plugin: string;
  readonly words: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly stdin: string;
}

/** Makes a call and returns what the program printed. */
type Make = (call: LifeCall) => Promise<string>;

/** The plugins of one attachment, in the order in which a runtime calls them for ADD. */
const CHAINS: readonly (readonly string[])[] = [
  ["bridge", "portmap", "bandwidth"],
  ["bridge", "portmap"],
  ["bridge", "tuning"],
  ["bridge", "firewall"],
  ["bridge", "portmap", "firewall"],
  ["ptp", "portmap", "bandwidth"],
  ["ptp"],
  ["bridge", "vxlan-overlay", "bandwidth"],
  ["vxlan-overlay", "portmap"],
  ["host-local"],
  ["static"],
  ["loopback"],
];
const VERSIONS = ["0.3.1", "0.4.0", "1.0.0", "1.1.0", "1.1.0", "1.1.0", "1.1.0", "1.1.0"];
/** What the addresses that `configuration` requests, and the list of `peers`, have for this node. */
const POD_CIDRS = ["10.1.2.0/24", "fd44:0:0:1::/64"];
const IPAM: Config = {
  type: "host-local",
  dataDir: PLACES.dataDir,
  ranges: [[{ subnet: "10.1.2.0/24" }], [{ subnet: "fd44:0:0:1::/64" }]],
  routes: [{ dst: "0.0.0.0/0" }],
};

/** A device belongs to one network. */
const VNIS: Readonly<Record<string, number>> = { net0: 1, net1: 2, net2: 3 };

/** The text for the file of peers, in which this node has `POD_CIDRS`. */
export function peersText(random: Random): string {
  const records = peers(random).map((record, i) => (i === 0 ? { ...record, podCIDRs: POD_CIDRS } : record));
  return [{ generation: 1, complete: true, peers: records.length }, ...records]
    .map((record) => `${JSON.stringify(record)}\n`)
    .join("");
}

/**
 * One attachment from STATUS to its second DEL. What the calls answer decides nothing but the previous results of later ones.
 * @param look is called when the attachment is complete, and when it is gone
 */
export async function live(random: Random, number: number, make: Make, look: () => Promise<void>): Promise<void> {
  const chain = random.pick(CHAINS);
  const version = random.pick(VERSIONS);
  const name = `net${random.below(3)}`;
  const attachment = new Life(chain, version, name, `life${number}`, random);
  for (const verb of ["VERSION", "STATUS"]) await attachment.forAll(verb, make);
  await attachment.add(make);
  await look();
  await attachment.forAll("CHECK", make);
  await make({ plugin: chain.at(-1) ?? "", words: ["repair"], env: {}, stdin: "" });
  if (random.chance(0.3)) await attachment.add(make);
  await attachment.forAll("GC", make);
  if (random.chance(0.3)) await attachment.forAll("CHECK", make);
  for (let times = 0; times < 2; times += 1) await attachment.forAll("DEL", make);
  await look();
}

class Life {
  readonly #configs: readonly Config[];
  readonly #containerId: string;
  readonly #ifname: string;
  /** What the last ADD printed, if that was a result. */
  #result: Value = null;

  constructor(chain: readonly string[], version: string, name: string, containerId: string, random: Random) {
    this.#configs = chain.map((plugin, place) => {
      const config: Config = { ...configuration(random, plugin, version, PLACES), name };
      delete config.prevResult;
      if (plugin === "bridge" || plugin === "host-local") config.ipam = IPAM;
      if (plugin === "vxlan-overlay")
        Object.assign(config, { podCIDRs: POD_CIDRS, underlay: "192.0.2.1", vni: VNIS[name] ?? 1 });
      /* Behind another plugin nothing is left to delegate. */
      if (plugin === "vxlan-overlay" && place === 0) config.delegate = { bridge: "br9", ipam: IPAM };
      else delete config.delegate;
      return config;
    });
    this.#containerId = containerId;
    this.#ifname = chain[0] === "loopback" ? "lo" : "eth0";
  }

  /** The chain's ADDs, each with the result of the one before it. */
  async add(make: Make): Promise<void> {
    this.#result = null;
    for (const config of this.#configs) {
      const printed = await make(this.#call("ADD", config));
      this.#result = resultIn(printed) ?? this.#result;
    }
  }

  /** One verb for each plugin of the chain; DEL and GC in the opposite order, as runtimes do. */
  async forAll(verb: string, make: Make): Promise<void> {
    const reversed = verb === "DEL" || verb === "GC";
    for (const config of reversed ? this.#configs.toReversed() : this.#configs) await make(this.#call(verb, config));
  }

  #call(verb: string, config: Config): LifeCall {
    const more: Config = {};
    if (this.#result !== null && verb !== "GC" && verb !== "STATUS") more.prevResult = this.#result;
    if (verb === "GC") more["cni.dev/valid-attachments"] = [{ containerID: this.#containerId, ifname: this.#ifname }];
    const env = {
      CNI_COMMAND: verb,
      CNI_CONTAINERID: this.#containerId,
      CNI_NETNS: PLACES.netns,
      CNI_IFNAME: this.#ifname,
      CNI_PATH: PLACES.bin,
    };
    return { plugin: String(config.type), words: [], env, stdin: JSON.stringify({ ...config, ...more }) };
  }
}

/** A printed result; null if it is an error or nothing. */
function resultIn(printed: string): Value {
  try {
    const value = JSON.parse(printed) as Value;
    const isResult = typeof value === "object" && value !== null && !Array.isArray(value) && value.code === undefined;
    return isResult ? value : null;
  } catch {
    return null;
  }
}
