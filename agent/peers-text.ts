/**
 * The list of peers that the plugins read (lib/overlay/peers-file.ts), from the nodes of the cluster. What is wrong with one node
 * is noted, and hurts nobody else: contradictions between nodes are found where the list is read. Pure.
 */
import { formatJsonLine, jsonArray, jsonObject, jsonString } from "../lib/cni/json.ts";
import { addressOf, type ClusterNode } from "./node.ts";

export interface PeersOptions {
  /** The IP version of the packets between the nodes. */
  readonly family: number;
  /** The overlay's; a node of flannel with another one is not reached. */
  readonly vni: number;
}

/** So many lines are held one by one: more of them would leave a hole of small blocks behind in the heap. */
const LINES_HELD = 256;

/** The records, one a line, in the order of the nodes. */
export class PeersText {
  /** Records in it. */
  count = 0;
  /** Nodes that are not in it, and why: for people. */
  readonly notes: string[] = [];
  readonly #options: PeersOptions;
  readonly #parts: string[] = [];
  #lines: string[] = [];

  constructor(options: PeersOptions) {
    this.#options = options;
  }

  add(node: ClusterNode): void {
    const problem = problemOf(node, this.#options);
    if (problem !== "") {
      this.notes.push(`node ${node.name} ${problem}`);
      return;
    }
    this.count += 1;
    this.#lines.push(`${lineOf(node, this.#options)}\n`);
    if (this.#lines.length === LINES_HELD) this.#join();
  }

  #join(): void {
    this.#parts.push(this.#lines.join(""));
    this.#lines = [];
  }

  text(): string {
    this.#join();
    return this.#parts.join("");
  }
}

/**
 * The first line of the file. The API's list is the whole truth: what is not in it has gone, however many that are, and an older
 * list than the one in use means that the cluster was restored.
 */
export function headerLine(generation: number, count: number): string {
  return `{"generation":${generation},"complete":true,"peers":${count},"force":true,"writer":"podwire-agent"}\n`;
}

function problemOf(node: ClusterNode, { family, vni }: PeersOptions): string {
  if (node.podCidrs.length === 0) return "has no podCIDRs yet";
  if (addressOf(node, family) === "")
    return `has no IPv${family} address, and the nodes speak IPv${family} with each other`;
  const { flannel } = node;
  if (flannel === null) return "";
  if (flannel.backend !== "vxlan") return `runs flannel with the backend "${flannel.backend}", which has no tunnels`;
  if (flannel.vxlan === null) return "runs flannel, but its annotation backend-data cannot be read";
  if (flannel.vxlan.vni !== vni) return `runs flannel with VNI ${flannel.vxlan.vni}, this network has ${vni}`;
  return "";
}

function lineOf(node: ClusterNode, { family }: PeersOptions): string {
  const podCidrs = jsonArray([]);
  for (const cidr of node.podCidrs) podCidrs.items.push(jsonString(cidr));
  const record = jsonObject()
    .with("nodeIP", jsonString(addressOf(node, family)))
    .with("podCIDRs", podCidrs)
    .with("name", jsonString(node.name));
  const mac = macOf(node, family);
  if (mac !== "") record.with("mac", jsonString(mac));
  return formatJsonLine(record);
}

function macOf({ flannel }: ClusterNode, family: number): string {
  const vxlan = flannel === null ? null : flannel.vxlan;
  if (vxlan === null) return "";
  return family === 4 ? vxlan.mac : vxlan.mac6;
}
