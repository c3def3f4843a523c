/** Writes to this node's own object in the API, when the network works: each thing once, and again if it is undone. */
import type { Json } from "../lib/cni/json.ts";
import { parseAddress } from "../lib/ip/address.ts";
import { formatMac } from "../lib/ip/mac.ts";
import { pathOf, type Request } from "../lib/kubernetes/http-request.ts";
import { Answer, create, mergePatch, type Requests } from "../lib/kubernetes/requests.ts";
import { Selection } from "../lib/kubernetes/selection.ts";
import type { Failure } from "../lib/kubernetes/status.ts";
import { vtepMac } from "../lib/overlay/peers.ts";
import { EVENTS_PATH, nodeEvent } from "./events.ts";
import { flannelAnnotations, noFlannelAnnotations, type Published } from "./flannel.ts";
import type { Log } from "./log.ts";
import { type ClusterNode, familyOf } from "./node.ts";
import {
  annotated,
  hasAnnotations,
  hasTaint,
  isNetworkUnavailable,
  networkAvailable,
  withoutTaint,
} from "./own-node.ts";
import type { NetworkSettings } from "./settings.ts";

/** What is not worth a line of the log. */
const EVENT = "tell of it by an event";

/** What came of a write. A failure is said; the next change of the node's object leads to another try. */
class Written extends Answer {
  readonly #writer: OwnNode;
  readonly #what: string;

  constructor(writer: OwnNode, what: string) {
    super();
    this.#writer = writer;
    this.#what = what;
  }

  override done(_object: Json): void {
    this.#writer.written(this.#what, "");
  }

  override failed(_failure: Failure, text: string): void {
    this.#writer.written(this.#what, text);
  }
}

/** The tunnel of this node as flannel describes its own. The MAC that is published already is the device's (sync.ts). */
function publishedBy(own: ClusterNode, family: number, vni: number): Published | null {
  for (const text of own.addresses) {
    const address = familyOf(text) === family ? parseAddress(text) : null;
    if (address === null) continue;
    const vxlan = own.flannel === null ? null : own.flannel.vxlan;
    const known = vxlan === null ? "" : family === 4 ? vxlan.mac : vxlan.mac6;
    const mac = known === "" ? formatMac(vtepMac(address)) : known;
    return { vni, mac, address: family === 4 ? text : "", address6: family === 6 ? text : "" };
  }
  return null;
}

export class OwnNode {
  readonly #settings: NetworkSettings;
  readonly #nodeName: string;
  readonly #path: string;
  /** The problem that the last event was about. */
  #told = "";
  readonly #requests: Requests;
  readonly #log: Log;
  /** The object as it was seen last; null before that. */
  #object: Json | null = null;
  #isWorking = false;
  /** What other nodes that run flannel must read of this one; null if they shall read nothing. */
  #published: Published | null = null;
  /** Writes that are under way. */
  readonly #underWay = new Set<string>();

  constructor(settings: NetworkSettings, nodeName: string, requests: Requests, log: Log) {
    this.#settings = settings;
    this.#nodeName = nodeName;
    this.#path = pathOf(["api", "v1", "nodes", nodeName]);
    this.#requests = requests;
    this.#log = log;
  }

  /** The object as it is now. */
  seen(object: Json): void {
    this.#object = object;
    if (this.#isWorking) this.#write();
  }

  /** The network of this node works. @param own the node itself @param family the IP version between the nodes */
  works(own: ClusterNode, family: number): void {
    this.#isWorking = true;
    this.#published = this.#settings.flannelAnnotations ? publishedBy(own, family, this.#settings.vni) : null;
    this.#write();
  }

  /** Tells administrators of a problem that lasts, and that it is over. */
  tell(problem: string): void {
    if (problem === this.#told || this.#underWay.has(EVENT)) return;
    const isOver = problem === "";
    this.#told = problem;
    const event = nodeEvent({
      node: this.#nodeName,
      type: isOver ? "Normal" : "Warning",
      reason: isOver ? "NetworkReady" : "NetworkNotReady",
      message: isOver ? "Podwire: the network of this node is as it should be" : `Podwire: ${problem}`,
      time: timeNow(),
    });
    this.#ask(EVENT, create(EVENTS_PATH, event));
  }

  written(what: string, problem: string): void {
    this.#underWay.delete(what);
    const done = `${what}: done`;
    if (!this.#log.state(what, problem, done) && problem === "" && what !== EVENT) this.#log.info(done);
  }

  #write(): void {
    const object = this.#object;
    if (object === null) return;
    if (isNetworkUnavailable(object)) {
      const patch = networkAvailable(timeNow());
      this.#send("set the node's condition NetworkUnavailable to False", `${this.#path}/status`, patch);
    }
    const { startupTaint } = this.#settings;
    if (startupTaint !== "" && hasTaint(object, startupTaint)) {
      this.#send(`remove the node's taint ${startupTaint}`, this.#path, withoutTaint(object, startupTaint));
    }
    const annotations = this.#published === null ? noFlannelAnnotations() : flannelAnnotations(this.#published);
    if (!hasAnnotations(object, annotations)) {
      const what =
        this.#published === null
          ? "remove flannel's annotations of the node"
          : "write flannel's annotations of the node";
      this.#send(what, `${this.#path}/status`, annotated(annotations));
    }
  }

  #send(what: string, path: string, patch: Json): void {
    this.#ask(what, mergePatch(path, patch));
  }

  #ask(what: string, request: Request): void {
    if (this.#underWay.has(what)) return;
    this.#underWay.add(what);
    this.#requests.send(request, new Selection().keep(["metadata", "name"]), new Written(this, what));
  }
}

/** "2026-11-30T12:00:00Z" */
function timeNow(): string {
  return `${new Date().toISOString().slice(0, 19)}Z`;
}
