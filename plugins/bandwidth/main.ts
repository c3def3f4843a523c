/** The bandwidth plugin: what a container sends and receives holds a rate. It stands behind a plugin that makes the interface. */
import type { Call, Plugin } from "../../lib/cni/plugin.ts";
import { EMPTY_RESULT, type Result, type ResultInterface, resultInterface } from "../../lib/cni/result.ts";
import { reportLack } from "../../lib/cni/status.ts";
import { ALL_VERSIONS } from "../../lib/cni/version.ts";
import { CniError, INVALID_CONFIG, KERNEL_REFUSED } from "../../lib/errors.ts";
import { sha512 } from "../../lib/filter/sha512.ts";
import { warn } from "../../lib/host/io.ts";
import { openNamespace, tryOpenNamespace } from "../../lib/host/namespace.ts";
import { canonicalMac } from "../../lib/ip/mac.ts";
import { getLinkByIndex, getLinkByName, type Link, listLinks } from "../../lib/netlink/link.ts";
import { apply, undo } from "../../lib/state/apply.ts";
import { compare } from "../../lib/state/compare.ts";
import { hostEndOf, vethInto } from "../../lib/state/host-end.ts";
import { Kernel } from "../../lib/state/kernel.ts";
import { rehearse } from "../../lib/state/kinds/rehearsal.ts";
import { type Attachment, attachmentNames } from "../../lib/state/names.ts";
import type { KernelObject } from "../../lib/state/objects.ts";
import { ownerOf } from "../../lib/state/ownership.ts";
import { isShapedFor, removeShaping, removeStaleShaping, type ShapedLink } from "../../lib/state/remove.ts";
import * as sys from "../../lib/sys/sys.ts";
import { hexOf } from "../../lib/text.ts";
import { type BandwidthConfig, type RateLimit, readBandwidthConfig } from "./config.ts";
import { bucketOf, ifbsOf, planBandwidth } from "./plan.ts";

export const bandwidth: Plugin = {
  name: "bandwidth",
  versions: ALL_VERSIONS,
  add,
  check,
  del,
  gc,
  status,
  repair: null,
};

/** The container's interface and, if it is a veth whose other end is here, that one. */
interface Ends {
  readonly inside: Link;
  readonly outside: Link | null;
}

function add(call: Call): Result {
  const config = readBandwidthConfig(call);
  const previous = call.config.prevResult();
  if (config.ingress === null && config.egress === null) return previous ?? EMPTY_RESULT;
  const result = required(previous);
  const namespace = openNamespace(call.request.netns);
  const kernel = new Kernel(namespace);
  try {
    const ends = findEnds(kernel, call, result);
    noteRaised(config, ends);
    removeShaping(kernel, attachmentOf(call), shapedLinks(ends), []);
    const plan = planned(call, config, ends);
    apply(kernel, plan);
    return { ...result, interfaces: [...result.interfaces, ...interfacesOf(kernel, call, plan)] };
  } finally {
    kernel.close();
    sys.close(namespace.fd);
  }
}

function check(call: Call): void {
  const config = readBandwidthConfig(call);
  const previous = call.config.prevResult();
  if (config.ingress === null && config.egress === null) return;
  const result = required(previous);
  const namespace = openNamespace(call.request.netns);
  const kernel = new Kernel(namespace);
  try {
    compare(kernel, planned(call, config, findEnds(kernel, call, result)));
  } finally {
    kernel.close();
    sys.close(namespace.fd);
  }
}

/** Needs neither limits nor previous result nor namespace; what is left of the links on which packets were shaped is cleared, too. */
function del(call: Call): void {
  const { containerId, netns } = call.request;
  const namespace = tryOpenNamespace(netns);
  const kernel = new Kernel(namespace);
  try {
    removeShaping(kernel, attachmentOf(call), ownLinks(kernel, call), [referenceIfb(call.config.name, containerId)]);
  } finally {
    kernel.close();
    if (namespace !== null) sys.close(namespace.fd);
  }
}

/** The links on which the attachment's limits are, and not those of another one that the namespace may have by now. */
function ownLinks(kernel: Kernel, call: Call): ShapedLink[] {
  const inside = kernel.namespace === null ? null : getLinkByName(kernel.container, call.request.ifname);
  const ends = endsOf(kernel, inside);
  if (ends !== null && areOwn(kernel, call, ends)) return shapedLinks(ends);
  const names = attachmentNames(attachmentOf(call));
  const outside = getLinkByName(kernel.host, names.hostLink);
  if (outside === null || outside.kind !== "veth" || outside.alias !== names.alias) return [];
  return [{ where: "host", index: outside.index }];
}

/** In doubt they are not: their limits go with them, when the plugin that made them gets its DEL. */
function areOwn(kernel: Kernel, call: Call, ends: Ends): boolean {
  const attachment = attachmentOf(call);
  const { inside, outside } = ends;
  const previous = call.config.previousIfAny();
  const owner = ownerOf(attachmentNames(attachment), call.request.ifname, previous, inside, outside);
  if (owner !== "unknown") return owner === "own";
  for (const link of shapedLinks(ends)) {
    if (isShapedFor(kernel, attachment, link)) return true;
  }
  return false;
}

function gc(call: Call): void {
  const valid = call.config.validAttachments();
  if (valid === null) return;
  const network = call.config.name;
  const kernel = new Kernel(null);
  try {
    const keep: Attachment[] = [];
    for (const item of valid) keep.push({ network, containerId: item.containerId, ifname: item.ifname });
    removeStaleShaping(kernel, network, keep);
  } finally {
    kernel.close();
  }
}

/** What the kernel lacks is a failure where each pod has a limit. Otherwise pods without one are attached all the same. */
function status(call: Call): void {
  const config = readBandwidthConfig(call);
  try {
    rehearse();
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    reportLack("bandwidth", error, config.ingress !== null || config.egress !== null, "pods with a limit");
  }
}

function required(previous: Result | null): Result {
  if (previous !== null) return previous;
  throw new CniError(
    INVALID_CONFIG,
    "must be called as chained plugin",
    "bandwidth limits an interface that a plugin before it has made; put it behind bridge in the list of plugins",
  );
}

function planned(call: Call, config: BandwidthConfig, ends: Ends): KernelObject[] {
  const { inside, outside } = ends;
  if (outside === null && !config.inContainer) throw noHostEnd(inside);
  return planBandwidth({
    config,
    names: attachmentNames(attachmentOf(call)),
    hostLink: outside === null ? "" : outside.name,
    containerLink: inside.name,
    mtu: (outside ?? inside).mtu,
  });
}

function noHostEnd(inside: Link): CniError {
  const reason =
    inside.kind === "veth"
      ? "its other end is not in this network namespace"
      : `it is ${inside.kind === "" ? "a device" : `a ${inside.kind}`}, not a veth with an end on the host`;
  return new CniError(
    INVALID_CONFIG,
    `container interface ${inside.name} has no veth peer: ${reason}`,
    'limits are kept on the host\'s end of a veth, where the container cannot undo them; with "shapeIn": "container" they are set inside the container\'s namespace',
  );
}

/**
 * The interface by its name; if a runtime has renamed it, by the MAC that the previous result tells, or as the other end of
 * one of the host's links that it lists. The host's end is the one that the kernel says, whatever others are listed.
 */
function findEnds(kernel: Kernel, call: Call, previous: Result): Ends {
  const { ifname } = call.request;
  const named = endsOf(kernel, getLinkByName(kernel.container, ifname));
  if (named !== null) return named;
  const described = previous.interfaces.find((item) => item.name === ifname && item.sandbox !== "");
  if (described !== undefined && described.mac !== "") {
    const wanted = canonicalMac(described.mac);
    const renamed = listLinks(kernel.container, "veth", 0).filter((link) => link.mac === wanted);
    const ends = endsOf(kernel, renamed.length === 1 ? (renamed[0] ?? null) : null);
    if (ends !== null) return ends;
  }
  const listed: Ends[] = [];
  for (const item of previous.interfaces) {
    const outside = item.sandbox === "" ? getLinkByName(kernel.host, item.name) : null;
    if (outside === null || outside.kind !== "veth") continue;
    if (kernel.namespace === null || vethInto(kernel.host, outside.index, kernel.namespace) === null) continue;
    const inside = getLinkByIndex(kernel.container, outside.peer);
    if (inside !== null && inside.kind === "veth") listed.push({ inside, outside });
  }
  const only = listed[0];
  if (only !== undefined && listed.length === 1) return only;
  throw new CniError(
    KERNEL_REFUSED,
    `container interface ${ifname} is not there`,
    `looked in ${call.request.netns} for its name, for the MAC in prevResult, and for the other ends of the host's links in prevResult`,
  );
}

function endsOf(kernel: Kernel, inside: Link | null): Ends | null {
  if (inside === null) return null;
  kernel.note("container", inside);
  const outside = hostEndOf(kernel, inside);
  if (outside !== null) kernel.note("host", outside);
  return { inside, outside };
}

function shapedLinks(ends: Ends): ShapedLink[] {
  const shaped: ShapedLink[] = [{ where: "container", index: ends.inside.index }];
  if (ends.outside !== null) shaped.push({ where: "host", index: ends.outside.index });
  return shaped;
}

/** What was made, as results tell it. */
function interfacesOf(kernel: Kernel, call: Call, plan: readonly KernelObject[]): ResultInterface[] {
  try {
    return ifbsOf(plan).map(({ where, name }) => {
      const link = kernel.seen(where, name) ?? kernel.link(where, name);
      return resultInterface(name, link.mac, link.mtu, where === "container" ? call.request.netns : "");
    });
  } catch (error) {
    undo(kernel, plan);
    throw error;
  }
}

/** A burst smaller than a packet would let none through; it is raised, and whoever reads the log is told. */
function noteRaised(config: BandwidthConfig, ends: Ends): void {
  const mtu = (ends.outside ?? ends.inside).mtu;
  noteOne("ingressBurst", config.ingress, mtu, config.latencyMs);
  noteOne("egressBurst", config.egress, mtu, config.latencyMs);
}

function noteOne(key: string, limit: RateLimit | null, mtu: number, latencyMs: number): void {
  if (limit === null || limit.burstBits === null) return;
  const bits = bucketOf(limit, mtu, latencyMs).burstBytes * 8;
  if (bits - limit.burstBits < 8) return;
  warn(`bandwidth: ${key} of ${limit.burstBits} bits is less than a packet of this link; ${bits} bits are used\n`);
}

/** What the reference's bandwidth plugin calls a container's ifb. */
function referenceIfb(network: string, containerId: string): string {
  return `bwp${hexOf(sha512(network + containerId), "").slice(0, 12)}`;
}

function attachmentOf(call: Call): Attachment {
  return { network: call.config.name, containerId: call.request.containerId, ifname: call.request.ifname };
}
