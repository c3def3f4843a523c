/** The vxlan-overlay plugin: every pod reaches every pod on every node by its own address. It stands behind `bridge`. */
import { requirePrevious } from "../../lib/attachment/previous.ts";
import type { Call, Plugin } from "../../lib/cni/plugin.ts";
import type { Result } from "../../lib/cni/result.ts";
import { ALL_VERSIONS } from "../../lib/cni/version.ts";
import { CHECK_FAILED, CniError, INVALID_CONFIG, NOT_AVAILABLE } from "../../lib/errors.ts";
import { warn } from "../../lib/host/io.ts";
import { anyContains, formatPrefix, formatPrefixes } from "../../lib/ip/address.ts";
import { getLinkByIndex, getLinkByName, type Link } from "../../lib/netlink/link.ts";
import { writeLinkMtu } from "../../lib/netlink/vxlan.ts";
import type { OverlayStatus } from "../../lib/overlay/reconcile.ts";
import type { OverlaySettings } from "../../lib/overlay/settings.ts";
import { commandIn } from "../../lib/state/commands.ts";
import { hostEndOf } from "../../lib/state/host-end.ts";
import { attempting, Kernel, type Where } from "../../lib/state/kernel.ts";
import { readOverlayConfig } from "./config.ts";
import { type Delegation, delegationOf } from "./delegate.ts";
import { explainNode } from "./explain-node.ts";
import { refuseMasquerade } from "./masquerade.ts";
import { reconcileNode } from "./node.ts";
import { repair } from "./repair.ts";

const ADVICE =
  'vxlan-overlay joins the nodes\' networks of pods; put it behind bridge in the list of plugins, or let it call bridge with "delegate": {}';

export const vxlanOverlay: Plugin = {
  name: "vxlan-overlay",
  versions: ALL_VERSIONS,
  add,
  check,
  del,
  gc,
  status,
  explain,
  repair,
};

function add(call: Call): Result {
  const settings = readOverlayConfig(call.config);
  if (delegationOf(call, settings, 0) === null) requireFitting(call, settings, requirePrevious(call, ADVICE));
  const kernel = Kernel.forContainer(call.request.netns);
  try {
    const node = reconcileNode(kernel, settings, "quick");
    report(node);
    const delegation = delegationOf(call, settings, node.mtu);
    if (delegation !== null) return delegated(delegation, settings);
    narrow(kernel, tooWide(podLinks(kernel, call), node.mtu), node.mtu);
    return withMtu(requirePrevious(call, ADVICE), node.mtu);
  } finally {
    kernel.close();
  }
}

/** The delegate makes the interface with the overlay's MTU. If its result cannot be used, its DEL is called. */
function delegated(delegation: Delegation, settings: OverlaySettings): Result {
  const { type, call } = delegation;
  const result = call.delegates.add(type);
  try {
    requireFitting(call, settings, result);
    return result;
  } catch (error) {
    call.delegates.del(type);
    throw error;
  }
}

function check(call: Call): void {
  const settings = readOverlayConfig(call.config);
  requirePrevious(call, ADVICE);
  const delegation = delegationOf(call, settings, 0);
  if (delegation !== null) delegation.call.delegates.check(delegation.type);
  const kernel = Kernel.forContainer(call.request.netns);
  try {
    const node = reconcileNode(kernel, settings, "full");
    for (const note of node.notes) warn(`vxlan-overlay: ${note}\n`);
    if (node.problem !== "") throw new CniError(CHECK_FAILED, node.problem, "the peers known before were kept");
    for (const { where, link } of tooWide(podLinks(kernel, call), node.mtu)) {
      throw new CniError(
        CHECK_FAILED,
        `${where === "host" ? "host" : "container"} link ${link.name} has MTU ${link.mtu}, which should be ${node.mtu}`,
        `larger packets do not fit into ${node.name}: ip link set ${link.name} mtu ${node.mtu}`,
      );
    }
  } finally {
    kernel.close();
  }
}

/** Nothing of the overlay belongs to one pod: device and entries are the node's. */
function del(call: Call): void {
  const delegation = delegationOf(call, null, 0);
  if (delegation !== null) delegation.call.delegates.del(delegation.type);
}

/** Compares everything with the kernel, and repairs what is missing or superfluous. */
function gc(call: Call): void {
  const delegation = delegationOf(call, null, 0);
  if (delegation !== null) delegation.call.delegates.gc(delegation.type);
  const settings = readOverlayConfig(call.config);
  const kernel = Kernel.forHost();
  try {
    report(reconcileNode(kernel, settings, "full"));
  } finally {
    kernel.close();
  }
}

/**
 * Fails only if no pod could be added, for a reason of this node: after a failure the runtime reports the node as not ready, and
 * its pods are evicted. All else is a note on standard error.
 */
function status(call: Call): void {
  const settings = readOverlayConfig(call.config);
  const delegation = delegationOf(call, settings, 0);
  const kernel = Kernel.forHost();
  try {
    report(reconcileNode(kernel, settings, "close"));
  } catch (error) {
    if (error instanceof CniError) throw new CniError(NOT_AVAILABLE, error.message, error.details);
    throw error;
  } finally {
    kernel.close();
  }
  if (delegation !== null) delegation.call.delegates.status(delegation.type);
}

function explain(call: Call): string[] {
  const { command, netns } = call.request;
  if (command === "DEL") {
    const delegation = delegationOf(call, null, 0);
    const delegated = delegation === null ? [] : delegation.call.delegates.explain(delegation.type);
    return [...delegated, "# the overlay is the node's: a pod's DEL changes nothing of it"];
  }
  const settings = readOverlayConfig(call.config);
  const kernel = Kernel.forContainerIfAny(netns);
  try {
    const { lines, mtu } = explainNode(kernel, settings, netns);
    const delegation = delegationOf(call, settings, mtu);
    if (delegation !== null) return [...lines, ...delegation.call.delegates.explain(delegation.type)];
    if (command !== "ADD" || kernel.namespace === null) return [...lines];
    return [...lines, ...narrowCommands(tooWide(podLinks(kernel, call), mtu), mtu, netns)];
  } finally {
    kernel.close();
  }
}

/** Writes to standard error what a person should know. */
function report({ problem, hasPeers, notes }: OverlayStatus): void {
  const effect = hasPeers ? "what was known of the peers is kept" : "no other node is reached";
  if (problem !== "") warn(`vxlan-overlay: ${problem}; ${effect}\n`);
  for (const note of notes) warn(`vxlan-overlay: ${note}\n`);
}

function requireFitting(call: Call, settings: OverlaySettings, previous: Result): void {
  requireOwnAddresses(call, settings, previous);
  refuseMasquerade(call, settings.exempt);
}

/** A pod with an address outside of this node's networks would get no answer: other nodes send to its address elsewhere. */
function requireOwnAddresses(call: Call, settings: OverlaySettings, previous: Result): void {
  for (const { address } of previous.ips) {
    const { family } = address.address;
    const own = settings.podCidrs.filter((cidr) => cidr.address.family === family);
    if (anyContains(own, address.address)) continue;
    throw new CniError(
      INVALID_CONFIG,
      `address ${formatPrefix(address)} of ${call.request.ifname} is not in this node's networks of pods`,
      `"podCIDRs" has ${own.length === 0 ? `none of IPv${family}` : formatPrefixes(own).join(", ")}: other nodes look for the pod elsewhere. Give IPAM the same networks; if the node's have changed, its leases are of the old ones`,
    );
  }
}

interface PodLink {
  readonly where: Where;
  readonly link: Link;
}

/** The pod's interface, its other end, and the bridge that this is a port of, as far as they exist. */
function podLinks(kernel: Kernel, call: Call): PodLink[] {
  const links: PodLink[] = [];
  const inside = getLinkByName(kernel.container, call.request.ifname);
  if (inside === null) return links;
  links.push({ where: "container", link: inside });
  const outside = hostEndOf(kernel, inside);
  if (outside === null) return links;
  links.push({ where: "host", link: outside });
  const bridge = outside.master === 0 ? null : getLinkByIndex(kernel.host, outside.master);
  if (bridge !== null) links.push({ where: "host", link: bridge });
  return links;
}

function tooWide(links: readonly PodLink[], mtu: number): PodLink[] {
  return links.filter(({ link }) => link.mtu > mtu);
}

function narrowCommands(links: readonly PodLink[], mtu: number, netns: string): string[] {
  return links.map(({ where, link }) => commandIn(where, netns, `ip link set ${link.name} mtu ${mtu}`));
}

/** Lowers the MTU of links to what fits into the overlay. */
function narrow(kernel: Kernel, links: readonly PodLink[], mtu: number): void {
  for (const { where, link } of links) {
    const socket = kernel.socket(where);
    writeLinkMtu(socket, link.index, mtu);
    attempting(`cannot give ${link.name} the MTU ${mtu}`, () => socket.run());
  }
}

function withMtu(result: Result, mtu: number): Result {
  const interfaces = result.interfaces.map((item) => {
    const { name, mac, sandbox, socketPath, pciID } = item;
    return { name, mac, mtu: Math.min(item.mtu, mtu), sandbox, socketPath, pciID };
  });
  return { ...result, interfaces };
}
