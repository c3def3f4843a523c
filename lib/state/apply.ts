/** ADD: makes a plan's objects exist, in order. If one cannot be made, those that are this attachment's own are taken back. */
import { CniError, KERNEL_REFUSED } from "../errors.ts";
import { throwIfInterrupted } from "../host/interrupt.ts";
import { ensureSysctl, preferSysctl } from "../host/sysctl.ts";
import { writeArpNotify } from "../netlink/address.ts";
import { NetlinkError, type NetlinkSocket } from "../netlink/socket.ts";
import { describe } from "./describe.ts";
import { type Kernel, kernelRefused } from "./kernel.ts";
import { applyAnnouncement } from "./kinds/announcement.ts";
import { applyBridge } from "./kinds/bridge.ts";
import { writeAddress, writeRoute, writeUp } from "./kinds/container.ts";
import { applyFilter, applyFlows, applyGuard, takeBackFilter } from "./kinds/filter.ts";
import { applyFreeMac } from "./kinds/free-mac.ts";
import { applyForgottenNeighbour, applyForwarding, applyGateways } from "./kinds/gateways.ts";
import { applyIfb, applyRedirect, takeBackIfb, takeBackRedirect } from "./kinds/ifb.ts";
import { applyLocalnet } from "./kinds/localnet.ts";
import { applyShaper, takeBackShaper } from "./kinds/shaper.ts";
import { applyHairpin, applyPort, applyVeth, takeBackVeth } from "./kinds/veth.ts";
import { applyVlanGateway } from "./kinds/vlan-gateway.ts";
import type { KernelObject, LinkUpObject, SysctlObject, Where } from "./objects.ts";

/**
 * Applies a plan.
 * @throws CniError of the first object that could not be made, after what the attachment owns has been removed again
 */
export function apply(kernel: Kernel, plan: readonly KernelObject[]): void {
  const made: KernelObject[] = [];
  try {
    let at = 0;
    while (at < plan.length) {
      throwIfInterrupted();
      at += applyNext(kernel, plan, at, made);
    }
  } catch (error) {
    takeBack(kernel, made);
    throw error;
  }
}

/**
 * Applies the object at an index, together with the ones behind it that go the same way: settings of one namespace, which
 * has to be entered for them, and messages to one namespace, which are sent at once. Returns how many that were.
 */
function applyNext(kernel: Kernel, plan: readonly KernelObject[], at: number, made: KernelObject[]): number {
  const object = plan[at];
  if (object === undefined || (object.kind === "up" && isUp(kernel, object))) return 1;
  const group = groupOf(object);
  if (group === "") {
    /* What is removed by nothing but its own is noted first: an answer that gets lost does not tell whether it was made. */
    const noted = object.kind === "shaper" || object.kind === "redirect";
    if (noted) made.push(object);
    refusable(object, () => applyOne(kernel, object));
    if (!noted) made.push(object);
    return 1;
  }
  const members: KernelObject[] = [];
  for (let i = at; i < plan.length; i += 1) {
    const member = plan[i];
    if (member === undefined || groupOf(member) !== group) break;
    members.push(member);
  }
  if (object.kind === "sysctl") applySettings(kernel, object.where, members);
  else sendTogether(kernel, group === "host" ? kernel.host : kernel.container, members);
  return members.length;
}

/** Whether a link is known to be as it should: a bridge that was there before mostly is. */
function isUp(kernel: Kernel, object: LinkUpObject): boolean {
  const link = kernel.seen(object.where, object.name);
  return link?.up === true && (link.promiscuous || !object.promiscuous);
}

/** Objects of one group are applied together; "" is applied alone. */
function groupOf(object: KernelObject): string {
  if (object.kind === "sysctl") return `settings of the ${object.where}`;
  if (object.kind === "up") return object.where;
  const ofContainer = object.kind === "arp-notify" || object.kind === "address" || object.kind === "route";
  return ofContainer ? "container" : "";
}

function applySettings(kernel: Kernel, where: Where, members: readonly KernelObject[]): void {
  const write = (): void => {
    for (const member of members) {
      if (member.kind === "sysctl") applySetting(member);
    }
  };
  if (where === "host") write();
  else kernel.inContainer(write);
}

function applySetting(object: SysctlObject): void {
  if (object.optional) {
    preferSysctl(object.path, object.value, "the link works, with the setting that it has");
    return;
  }
  if (ensureSysctl(object.path, object.value)) return;
  throw new CniError(KERNEL_REFUSED, `this kernel has no setting ${object.path.join(".")}`);
}

function sendTogether(kernel: Kernel, socket: NetlinkSocket, members: readonly KernelObject[]): void {
  for (const member of members) {
    if (member.kind === "address") writeAddress(kernel, member);
    else if (member.kind === "route") writeRoute(kernel, member);
    else if (member.kind === "up") writeUp(kernel, member);
    else if (member.kind === "arp-notify") writeArpNotify(kernel.container, kernel.index("container", member.link));
  }
  try {
    socket.run();
  } catch (error) {
    if (!(error instanceof NetlinkError)) throw error;
    const member = members[error.index];
    throw kernelRefused(error, `cannot ${member === undefined ? "change the kernel" : describe(member)}`, "");
  }
}

function refusable(object: KernelObject, action: () => void): void {
  try {
    action();
  } catch (error) {
    if (error instanceof NetlinkError) throw kernelRefused(error, `cannot ${describe(object)}`, "");
    throw error;
  }
}

function applyOne(kernel: Kernel, object: KernelObject): void {
  switch (object.kind) {
    case "bridge":
      applyBridge(kernel, object);
      return;
    case "veth":
      applyVeth(kernel, object);
      return;
    case "free-mac":
      applyFreeMac(kernel, object);
      return;
    case "port":
      applyPort(kernel, object);
      return;
    case "vlan-gateway":
      applyVlanGateway(kernel, object);
      return;
    case "gateways":
      applyGateways(kernel, object);
      return;
    case "forwarding":
      applyForwarding(kernel, object);
      return;
    case "forgotten-neighbour":
      applyForgottenNeighbour(kernel, object);
      return;
    case "announcement":
      applyAnnouncement(kernel, object);
      return;
    case "filter":
      applyFilter(kernel, object);
      return;
    case "guard":
      applyGuard(kernel);
      return;
    case "localnet":
      applyLocalnet(kernel, object);
      return;
    case "hairpin":
      applyHairpin(kernel, object);
      return;
    case "flows":
      applyFlows(kernel, object);
      return;
    case "shaper":
      applyShaper(kernel, object);
      return;
    case "ifb":
      applyIfb(kernel, object);
      return;
    case "redirect":
      applyRedirect(kernel, object);
      return;
    default:
  }
}

/** Removes what was made, last first. Shared objects stay: others may be using them by now. */
export function takeBack(kernel: Kernel, made: readonly KernelObject[]): void {
  for (let i = made.length - 1; i >= 0; i -= 1) {
    const object = made[i];
    if (object === undefined) continue;
    if (object.kind === "veth") takeBackVeth(kernel, object);
    else if (object.kind === "filter") takeBackFilter(kernel, object);
    else if (object.kind === "shaper") takeBackShaper(kernel, object);
    else if (object.kind === "ifb") takeBackIfb(kernel, object);
    else if (object.kind === "redirect") takeBackRedirect(kernel, object);
  }
}
