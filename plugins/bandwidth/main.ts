/** The bandwidth plugin: what a container sends and receives holds a rate. It stands behind a plugin that makes the interface. */
import { explainPlan, explainRemoval } from "../../lib/attachment/explain.ts";
import { attachmentOf } from "../../lib/attachment/identity.ts";
import { requirePrevious } from "../../lib/attachment/previous.ts";
import { collectGarbage, detach } from "../../lib/attachment/removal.ts";
import type { Call, Plugin } from "../../lib/cni/plugin.ts";
import { EMPTY_RESULT, type Result, type ResultInterface, resultInterface } from "../../lib/cni/result.ts";
import { reportLack } from "../../lib/cni/status.ts";
import { ALL_VERSIONS } from "../../lib/cni/version.ts";
import { CniError, INVALID_CONFIG, KERNEL_REFUSED } from "../../lib/errors.ts";
import { warn } from "../../lib/host/io.ts";
import { canonicalMac } from "../../lib/ip/mac.ts";
import { getLinkByIndex, getLinkByName, type Link, listLinks } from "../../lib/netlink/link.ts";
import { sha512 } from "../../lib/sha512.ts";
import { apply, undo } from "../../lib/state/apply.ts";
import { compare } from "../../lib/state/compare.ts";
import { hostEndOf, vethInto } from "../../lib/state/host-end.ts";
import { attempting, Kernel } from "../../lib/state/kernel.ts";
import { rehearse } from "../../lib/state/kinds/rehearsal.ts";
import { attachmentNames } from "../../lib/state/names.ts";
import type { KernelObject } from "../../lib/state/objects.ts";
import { OwnedShaping, removeShaping, type ShapedLink } from "../../lib/state/owned/shaping.ts";
import type { Owned } from "../../lib/state/owned.ts";
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
  explain,
  repair: null,
};

const ETHERNET_MTU = 1500;

/** Where bandwidth belongs. */
const ADVICE =
  "bandwidth limits an interface that a plugin before it has made; put it behind bridge in the list of plugins";

/** The container's interface and, if it is a veth whose other end is here, that one. */
interface Ends {
  readonly inside: Link;
  readonly outside: Link | null;
}

function add(call: Call): Result {
  const config = readBandwidthConfig(call);
  if (config.ingress === null && config.egress === null) return call.config.prevResult() ?? EMPTY_RESULT;
  const result = requirePrevious(call, ADVICE);
  const kernel = Kernel.forContainer(call.request.netns);
  try {
    const ends = findEnds(kernel, call, result);
    noteRaised(config, ends);
    attempting("cannot remove the rate limit", () => removeShaping(kernel, attachmentOf(call), shapedLinks(ends), []));
    const plan = planned(call, config, ends);
    apply(kernel, plan);
    return { ...result, interfaces: [...result.interfaces, ...interfacesOf(kernel, call, plan)] };
  } finally {
    kernel.close();
  }
}

function check(call: Call): void {
  const config = readBandwidthConfig(call);
  if (config.ingress === null && config.egress === null) {
    /* One that is wrong is an error all the same. */
    call.config.prevResult();
    return;
  }
  const result = requirePrevious(call, ADVICE);
  const kernel = Kernel.forContainer(call.request.netns);
  try {
    compare(kernel, planned(call, config, findEnds(kernel, call, result)));
  } finally {
    kernel.close();
  }
}

function del(call: Call): void {
  detach(call, owned(call));
}

function gc(call: Call): void {
  collectGarbage(call, [new OwnedShaping([])]);
}

function owned(call: Call): Owned[] {
  return [new OwnedShaping([referenceIfb(call.config.name, call.request.containerId)])];
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

/** The links are those of prevResult; without one, those that bridge would make. */
function explain(call: Call): string[] {
  const { command, netns, ifname } = call.request;
  if (command !== "ADD") return explainRemoval(call, owned(call));
  const config = readBandwidthConfig(call);
  const names = attachmentNames(attachmentOf(call));
  const known = (call.config.prevResult() ?? EMPTY_RESULT).interfaces;
  const outside = known.find((item) => item.sandbox === "" && item.name.startsWith("veth"));
  const mtu = outside === undefined || outside.mtu === 0 ? ETHERNET_MTU : outside.mtu;
  const hostLink = outside === undefined ? names.hostLink : outside.name;
  const kernel = Kernel.forHost();
  try {
    const plan = planBandwidth({ config, names, hostLink, containerLink: ifname, mtu });
    return plan.length === 0 ? ["# nothing: no limit is asked for"] : explainPlan(kernel, plan, netns);
  } finally {
    kernel.close();
  }
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
