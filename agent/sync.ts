/**
 * Brings the node to what the cluster's nodes and the settings say: the list of peers is written, the overlay reconciled by the same
 * code as in a plugin's call, and when that has worked once, the list of plugins appears, at which the runtime calls the node ready.
 */
import { type NetworkConfig, readConfig } from "../lib/cni/config.ts";
import { formatJson } from "../lib/cni/json.ts";
import { CniError } from "../lib/errors.ts";
import { forgetRules } from "../lib/filter/record-check.ts";
import { forgetAddresses } from "../lib/filter/values.ts";
import { forgetWaits } from "../lib/host/lock.ts";
import { readInput } from "../lib/install/files.ts";
import type { Prefix } from "../lib/ip/address.ts";
import { NetlinkError } from "../lib/netlink/socket.ts";
import { forgetLostAnswers } from "../lib/netlink/transport.ts";
import type { Depth, OverlayStatus } from "../lib/overlay/reconcile.ts";
import { shortened } from "../lib/overlay/warnings.ts";
import { Kernel } from "../lib/state/kernel.ts";
import { repair as repairFilter } from "../lib/state/repair.ts";
import { SystemError } from "../lib/sys/errno.ts";
import { decodeUtf8 } from "../lib/text.ts";
import { readOverlayConfig } from "../plugins/vxlan-overlay/config.ts";
import { reconcileNode } from "../plugins/vxlan-overlay/node.ts";
import { conflist, overlayConfiguration } from "./conflist.ts";
import { readIpMasq } from "./ip-masq.ts";
import type { Log } from "./log.ts";
import { addressOf, type ClusterNode } from "./node.ts";
import { type ConflistFile, PeersFile, type RunDirectory } from "./node-files.ts";
import { PeersText } from "./peers-text.ts";
import type { Roster } from "./roster.ts";
import { misfit, type NetworkSettings } from "./settings.ts";

/** What came of a run. */
export interface Outcome {
  /** Why the node cannot be brought to what it should be, with what to do; "" if it was. */
  readonly problem: string;
  /** What a person should know besides. */
  readonly notes: readonly string[];
  /** Whether anything in the kernel was different from what it should be. */
  readonly changed: boolean;
  /** Whether that follows from what the API server has said, and not from what somebody has done on the node. */
  readonly followed: boolean;
  /** The IP version between the nodes. */
  readonly family: number;
}

/** Where the agent writes and reads. */
export interface Places {
  readonly run: RunDirectory;
  readonly list: ConflistFile;
  /** The path of ip-masq-agent's configuration; "" for none. */
  readonly ipMasq: string;
}

const NO_CIDRS =
  "has no podCIDRs: kube-controller-manager gives them with --allocate-node-cidrs=true and --cluster-cidr=... (kubeadm init --pod-network-cidr=...)";

export class Sync {
  /** With the networks that ip-masq-agent's file named last. */
  #settings: NetworkSettings;
  readonly #exempt: readonly Prefix[];
  readonly #ipMasq: string;
  readonly #nodeName: string;
  readonly #conflist: ConflistFile;
  readonly #release: string;
  readonly #log: Log;
  readonly #peers: PeersFile;
  readonly #peersFile: string;

  constructor(settings: NetworkSettings, nodeName: string, places: Places, release: string, log: Log) {
    this.#settings = settings;
    this.#exempt = settings.nonMasqueradeCidrs;
    this.#ipMasq = places.ipMasq;
    this.#nodeName = nodeName;
    this.#conflist = places.list;
    this.#peers = new PeersFile(places.run);
    this.#peersFile = places.run.peersFile;
    this.#release = release;
    this.#log = log;
  }

  /**
   * @param depth "full" to compare everything with the kernel
   * @param apiTrouble why there may be no list of nodes; "" if that is not known
   */
  run(roster: Roster, depth: Depth, apiTrouble: string): Outcome {
    beginCall();
    if (!roster.isComplete) {
      return refused(`the API server has not told of all nodes yet${apiTrouble === "" ? "" : `: ${apiTrouble}`}`);
    }
    const own = roster.find(this.#nodeName);
    /* This node runs: a list without it is not to be believed, and nobody is removed for its sake. */
    if (own === null) return refused(`the API server has no node ${this.#nodeName}: nothing is changed`);
    if (own.podCidrs.length === 0) return refused(`node ${this.#nodeName} ${NO_CIDRS}`);
    const problem = misfit(this.#settings, own.podCidrs);
    if (problem !== "") return refused(problem);
    try {
      return this.#reconcile(roster, own, depth);
    } catch (error) {
      if (error instanceof CniError) return refused(sentence(error));
      /* A full disk, a missing directory: that may pass, and an agent that ends would say no more than this. */
      if (error instanceof SystemError) return refused(error.message);
      if (error instanceof NetlinkError) return refused(error.message);
      throw error;
    }
  }

  #reconcile(roster: Roster, own: ClusterNode, depth: Depth): Outcome {
    const { vni } = this.#settings;
    const family = addressOf(own, 4) === "" ? 6 : 4;
    const peers = new PeersText({ family, vni });
    for (const name of roster.names()) {
      const node = name === own.name ? this.#asPublished(own) : roster.find(name);
      if (node !== null) peers.add(node);
    }
    const followed = this.#peers.write(peers);
    if (followed) this.#log.info(`wrote ${this.#peersFile}: ${peers.count} nodes`);
    const ipMasqProblem = this.#readIpMasq();
    const config = this.#overlay(own);
    const kernel = Kernel.forHost();
    let status: OverlayStatus;
    try {
      status = reconcileNode(kernel, readOverlayConfig(config), depth);
    } finally {
      kernel.close();
    }
    const notes = [...shortened(peers.notes), ...status.notes];
    if (ipMasqProblem !== "") notes.push(ipMasqProblem);
    const repaired = depth === "full" && repairPods(notes);
    if (status.problem !== "")
      return { problem: status.problem, notes, changed: status.changed || repaired, followed, family };
    const text = conflist(this.#settings, own.podCidrs, this.#peersFile, this.#release);
    if (this.#conflist.write(text)) this.#log.info(`wrote ${this.#conflist.path}: the network of this node is ready`);
    return { problem: "", notes, changed: status.changed || repaired, followed, family };
  }

  /**
   * What an earlier flanneld has published of this node stands for as long as flannel's annotations are kept: the device gets the MAC
   * that the other nodes already send to.
   */
  #asPublished(own: ClusterNode): ClusterNode {
    return this.#settings.flannelAnnotations ? own : { ...own, flannel: null };
  }

  /** Takes over what ip-masq-agent's file says. If it cannot be read, what it said before stands. @returns why not, or "" */
  #readIpMasq(): string {
    if (this.#ipMasq === "") return "";
    try {
      const text = decodeUtf8(readInput(this.#ipMasq));
      const nonMasqueradeCidrs = [...this.#exempt, ...readIpMasq(text, this.#ipMasq)];
      const settings = this.#settings;
      this.#settings = { ...settings, nonMasqueradeCidrs };
      return "";
    } catch (error) {
      if (error instanceof CniError) return sentence(error);
      if (error instanceof SystemError) return error.message;
      throw error;
    }
  }

  #overlay(own: ClusterNode): NetworkConfig {
    const json = overlayConfiguration(this.#settings, own.podCidrs, this.#peersFile);
    return readConfig(new TextEncoder().encode(formatJson(json)));
  }
}

/** What lib keeps for the length of a plugin's call: here a run is that long. */
function beginCall(): void {
  forgetWaits();
  forgetLostAnswers();
  forgetAddresses();
  forgetRules();
}

/**
 * Puts back what pods have lost in the packet filter. That it cannot is said, and keeps the node's network from nothing else: where
 * pods' ports are iptables' rules, the agent's image has no iptables.
 */
function repairPods(notes: string[]): boolean {
  try {
    return repairFilter();
  } catch (error) {
    if (error instanceof CniError) notes.push(`${UNREPAIRED}: ${sentence(error)}`);
    else if (error instanceof SystemError) notes.push(`${UNREPAIRED}: ${error.message}`);
    else throw error;
    return false;
  }
}

const UNREPAIRED = "what pods have in the packet filter cannot be looked after";

function sentence({ message, details }: CniError): string {
  return details === "" ? message : `${message} (${details})`;
}

function refused(problem: string): Outcome {
  return { problem, notes: [], changed: false, followed: false, family: 0 };
}
