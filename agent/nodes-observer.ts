/** Follows the Nodes of the cluster: what a watch tells goes into the roster, and who acts upon it is told that it has changed. */
import type { Json } from "../lib/cni/json.ts";
import { Selection } from "../lib/kubernetes/selection.ts";
import { Observer } from "../lib/kubernetes/watch.ts";
import type { Collection } from "../lib/kubernetes/watch-requests.ts";
import { FLANNEL_ANNOTATIONS } from "./flannel.ts";
import type { Log } from "./log.ts";
import { readNode } from "./node.ts";
import { type Change, describeChange, type Roster } from "./roster.ts";
import { textIn } from "./values.ts";

/** What the log says of the watch: its name there, and that it is in order. */
const WATCH = "the watch of nodes";
const ANSWERS = "the API server answers again";

/** Is told that the roster has changed, or is complete for the first time. */
export abstract class RosterUser {
  abstract rosterChanged(): void;
  /** What is wrong between agent and API server, for people; "" if nothing is. */
  abstract apiTrouble(text: string): void;
  /** This node's own object as it is now, with its conditions and taints. */
  abstract ownNode(object: Json): void;
}

/** All Nodes, of each what the network needs. */
export function allNodes(): Collection {
  const selection = new Selection()
    .keep(["metadata", "name"])
    .keep(["metadata", "uid"])
    .keep(["metadata", "resourceVersion"])
    .keep(["spec", "podCIDR"])
    .keep(["spec", "podCIDRs"])
    .keep(["spec", "taints"])
    .keep(["status", "addresses"])
    .keep(["status", "conditions", "type"])
    .keep(["status", "conditions", "status"])
    .keep(["status", "conditions", "reason"]);
  for (const annotation of FLANNEL_ANNOTATIONS) selection.keep(["metadata", "annotations", annotation]);
  return { path: "/api/v1/nodes", fieldSelector: "", labelSelector: "", selection, isMetadataOnly: false };
}

export class NodesObserver extends Observer {
  readonly #roster: Roster;
  readonly #user: RosterUser;
  readonly #log: Log;
  readonly #ownName: string;

  constructor(roster: Roster, user: RosterUser, ownName: string, log: Log) {
    super();
    this.#roster = roster;
    this.#user = user;
    this.#ownName = ownName;
    this.#log = log;
  }

  override begin(): void {
    this.#roster.begin();
  }

  override put(object: Json): void {
    const node = readNode(object);
    if (node === null) {
      this.#log.warning("the API server has sent a node without a usable name: it is passed over");
      return;
    }
    /* A watch that goes on where it was cut off has no list that could say so. */
    if (this.#roster.isComplete) this.#log.state(WATCH, "", ANSWERS);
    if (node.name === this.#ownName) this.#user.ownNode(object);
    this.#note(this.#roster.put(node));
  }

  override remove(object: Json): void {
    const metadata = object.get("metadata");
    this.#note(this.#roster.remove(textIn(metadata, "name"), textIn(metadata, "uid")));
  }

  override synced(): void {
    const isFirst = !this.#roster.isComplete;
    for (const change of this.#roster.complete()) this.#note(change);
    this.#log.state(WATCH, "", ANSWERS);
    if (!isFirst) return;
    this.#log.info(`the cluster has ${this.#roster.size} nodes`);
    this.#user.rosterChanged();
  }

  override trouble(text: string): void {
    this.#user.apiTrouble(text);
    this.#log.state(WATCH, text, ANSWERS);
  }

  #note(change: Change | null): void {
    if (change === null) return;
    /* The first list is one line in the log, not five thousand. */
    if (this.#roster.isComplete) this.#log.info(describeChange(change));
    this.#user.rosterChanged();
  }
}
