/** What a link is tuned to: Ethernet address, MTU, send queue, which frames it takes in. */
import { warn } from "../../host/io.ts";
import { parseMac } from "../../ip/mac.ts";
import { itemAt } from "../../lists.ts";
import { writeLinkAddress } from "../../netlink/link.ts";
import {
  getLinkAttributes,
  type LinkAttributes,
  writeLinkFlag,
  writeLinkMtu,
  writeTransmitQueue,
} from "../../netlink/link-attributes.ts";
import { NetlinkError, type NetlinkSocket } from "../../netlink/socket.ts";
import { EBUSY, ENODEV, isTransient } from "../../sys/errno.ts";
import { shellWord } from "../../text.ts";
import { commandIn } from "../commands.ts";
import type { LinkSettings } from "../former.ts";
import { type Kernel, kernelRefused, type Where } from "../kernel.ts";
import { Kind } from "../kind.ts";

/** Attributes of a link that exists. */
export interface LinkAttributesObject {
  readonly kind: "link-attributes";
  readonly where: Where;
  readonly name: string;
  readonly wanted: LinkSettings;
  /** What the link had before, of that which is wanted: for undoing it. */
  readonly former: LinkSettings;
}

export class LinkAttributesKind extends Kind {
  readonly #object: LinkAttributesObject;

  constructor(object: LinkAttributesObject) {
    super();
    this.#object = object;
  }

  override describe(): string {
    return `set ${settingsText(this.#object.wanted)} of ${this.#object.name}`;
  }

  override commands(netns: string): string[] {
    const { where, name, wanted } = this.#object;
    return linkCommands(where, netns, name, wanted);
  }

  override make(kernel: Kernel): void {
    const { where, name, wanted } = this.#object;
    const now = getLinkAttributes(kernel.socket(where), name);
    if (now === null) throw new NetlinkError(ENODEV, `${name} is not there`, 0);
    const steps = stepsTo(wanted, now);
    for (const { write } of steps) write(kernel.socket(where), now.index);
    try {
      kernel.socket(where).run();
    } catch (error) {
      if (!(error instanceof NetlinkError)) throw error;
      const step = itemAt(steps, error.index);
      throw kernelRefused(error, `cannot set ${step === null ? "attributes" : step.what} of ${name}`, adviceFor(error));
    }
  }

  override difference(kernel: Kernel): string | null {
    const { where, name, wanted } = this.#object;
    const now = getLinkAttributes(kernel.socket(where), name);
    return now === null ? `Cannot find container link ${name}` : differenceInLink(name, wanted, now);
  }

  override undo(kernel: Kernel): void {
    const { where, name, former } = this.#object;
    restoreLink(kernel, where, name, former);
  }

  override undoneInDoubt(): boolean {
    return true;
  }
}

/** What settings a link has now, of those that are wanted. */
export function formerSettings(wanted: LinkSettings, now: LinkAttributes): LinkSettings {
  return {
    mac: wanted.mac === "" ? "" : now.mac,
    promiscuous: wanted.promiscuous === null ? null : now.promiscuous,
    mtu: wanted.mtu === 0 ? 0 : now.mtu,
    allMulticast: wanted.allMulticast === null ? null : now.allMulticast,
    transmitQueue: wanted.transmitQueue === null ? null : now.transmitQueue,
  };
}

/**
 * Gives a link the attributes that it had; a link that has gone is no failure. What the kernel will never take back, since the
 * link has become another one in the meantime, is reported and left.
 * @throws NetlinkError if another try may succeed
 */
export function restoreLink(kernel: Kernel, where: Where, name: string, former: LinkSettings): void {
  const socket = kernel.socket(where);
  const now = getLinkAttributes(socket, name);
  if (now === null) return;
  const steps = stepsTo(former, now);
  for (const { write } of steps) write(socket, now.index);
  for (const refusal of socket.exchange(() => {})) {
    if (refusal.errno === ENODEV) return;
    if (isTransient(refusal.errno)) throw refusal.copy();
    const step = itemAt(steps, refusal.index);
    warn(`cannot restore ${step === null ? "attributes" : step.what} of ${name}: ${refusal.message}\n`);
  }
}

/** The commands that give a link attributes, as a person would type them; none if there are none. */
export function linkCommands(where: Where, netns: string, name: string, settings: LinkSettings): string[] {
  const words = settingsText(settings);
  return words === "" ? [] : [commandIn(where, netns, `ip link set dev ${shellWord(name)} ${words}`)];
}

/** As ip(8) has it: "address 02:00:00:00:00:01 mtu 1400". */
function settingsText(settings: LinkSettings): string {
  const { mac, promiscuous, mtu, allMulticast, transmitQueue } = settings;
  const words: string[] = [];
  if (mac !== "") words.push(`address ${mac}`);
  if (promiscuous !== null) words.push(`promisc ${onOff(promiscuous)}`);
  if (mtu !== 0) words.push(`mtu ${mtu}`);
  if (allMulticast !== null) words.push(`allmulticast ${onOff(allMulticast)}`);
  if (transmitQueue !== null) words.push(`txqueuelen ${transmitQueue}`);
  return words.join(" ");
}

function onOff(value: boolean): string {
  return value ? "on" : "off";
}

/** One request. */
interface Step {
  /** For messages: "mtu 1400". */
  readonly what: string;
  readonly write: (socket: NetlinkSocket, index: number) => void;
}

/** What has to be changed. To set the address that a link has would announce its IP addresses. */
function stepsTo(settings: LinkSettings, now: LinkAttributes): Step[] {
  const { promiscuous, mtu, allMulticast, transmitQueue } = settings;
  const steps: Step[] = [];
  const mac = parseMac(settings.mac);
  if (mac !== null && settings.mac !== now.mac) {
    steps.push({
      what: `MAC ${settings.mac}`,
      write: (socket, index) => writeLinkAddress(socket, index, mac),
    });
  }
  if (promiscuous !== null && promiscuous !== now.promiscuous) {
    steps.push({
      what: `promisc ${onOff(promiscuous)}`,
      write: (socket, index) => writeLinkFlag(socket, index, "promisc", promiscuous),
    });
  }
  if (mtu !== 0 && mtu !== now.mtu) {
    steps.push({ what: `MTU ${mtu}`, write: (socket, index) => writeLinkMtu(socket, index, mtu) });
  }
  if (allMulticast !== null && allMulticast !== now.allMulticast) {
    steps.push({
      what: `allmulticast ${onOff(allMulticast)}`,
      write: (socket, index) => writeLinkFlag(socket, index, "allmulticast", allMulticast),
    });
  }
  if (transmitQueue !== null && transmitQueue !== now.transmitQueue) {
    steps.push({
      what: `txqueuelen ${transmitQueue}`,
      write: (socket, index) => writeTransmitQueue(socket, index, transmitQueue),
    });
  }
  return steps;
}

function adviceFor(error: NetlinkError): string {
  if (error.errno !== EBUSY) return "";
  return "a link of this kind does not change its address while it is up";
}

/** The texts are the reference's: people search for them. A link that others make promiscuous is as it should be. */
function differenceInLink(name: string, wanted: LinkSettings, now: LinkAttributes): string | null {
  const { mac, promiscuous, mtu, allMulticast, transmitQueue } = wanted;
  const tuned = (what: string, value: string, found: string): string =>
    `Error: Tuning configured ${what} of ${name} is ${value}, current value is ${found}`;
  if (mac !== "" && mac !== now.mac) return tuned("Ethernet", mac, now.mac);
  if (promiscuous === true && !now.promiscuous) {
    return `Error: Tuning link ${name} configured promisc is true, current value is 0`;
  }
  if (mtu !== 0 && mtu !== now.mtu) return tuned("MTU", `${mtu}`, `${now.mtu}`);
  if (allMulticast !== null && allMulticast !== now.allMulticast) {
    return tuned("all-multicast mode", `${allMulticast}`, `${now.allMulticast}`);
  }
  if (transmitQueue !== null && transmitQueue !== now.transmitQueue) {
    return tuned("Transmit Queue Length", `${transmitQueue}`, `${now.transmitQueue}`);
  }
  return null;
}
