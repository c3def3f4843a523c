/** The host end of an attachment as a port of its bridge. */
import { writePort } from "../../netlink/bridge-port.ts";
import { getLinkByName } from "../../netlink/link.ts";
import { DEFAULT_VLAN, listPortVlans, type VlanRange, writePortVlans } from "../../netlink/vlan.ts";
import { shellWord } from "../../text.ts";
import type { Kernel } from "../kernel.ts";
import { Kind } from "../kind.ts";

/** What makes the host end a good port: its options, its alias, up. */
export interface PortObject {
  readonly kind: "port";
  readonly name: string;
  readonly alias: string;
  readonly hairpin: boolean;
  readonly isolated: boolean;
  /** The port's VLANs; null leaves the bridge's default alone. */
  readonly vlans: readonly VlanRange[] | null;
  /** Whether VLAN 1, which every port of a filtering bridge begins with, is taken away. */
  readonly dropDefaultVlan: boolean;
}

export class PortKind extends Kind {
  readonly #object: PortObject;

  constructor(object: PortObject) {
    super();
    this.#object = object;
  }

  override describe(): string {
    return `set up bridge port ${this.#object.name}`;
  }

  override commands(_netns: string): string[] {
    const { name, alias, hairpin, isolated, vlans, dropDefaultVlan } = this.#object;
    const lines = [
      `ip link set ${shellWord(name)} up alias ${shellWord(alias)}`,
      `bridge link set dev ${shellWord(name)} hairpin ${onOff(hairpin)} isolated ${onOff(isolated)}`,
    ];
    if (vlans !== null && dropDefaultVlan)
      lines.push(`bridge vlan delete dev ${shellWord(name)} vid ${DEFAULT_VLAN.first}`);
    for (const { first, last, pvid, untagged } of vlans ?? []) {
      const ids = first === last ? `${first}` : `${first}-${last}`;
      lines.push(
        `bridge vlan add dev ${shellWord(name)} vid ${ids}${pvid ? " pvid" : ""}${untagged ? " untagged" : ""}`,
      );
    }
    return lines;
  }

  override make(kernel: Kernel): void {
    applyPort(kernel, this.#object);
  }

  override difference(kernel: Kernel): string | null {
    return differenceInPort(kernel, this.#object);
  }
}

/** Sets the port's options and brings it up; then it belongs to its owner by name. */
function applyPort(kernel: Kernel, object: PortObject): void {
  const index = kernel.index("host", object.name);
  writePort(kernel.host, index, object.alias, object.hairpin, object.isolated);
  kernel.host.run();
  if (object.vlans === null) return;
  if (object.dropDefaultVlan) writePortVlans(kernel.host, index, [DEFAULT_VLAN], false);
  writePortVlans(kernel.host, index, object.vlans, true);
  kernel.host.run();
}

/** What is different about the port; null if nothing is. */
function differenceInPort(kernel: Kernel, object: PortObject): string | null {
  const link = getLinkByName(kernel.host, object.name);
  if (link === null) return `host link ${object.name} is missing`;
  if (!link.up) return `host link ${object.name} is down`;
  if (link.port === null) return `host link ${object.name} is no port of a bridge`;
  /* portmap turns it on where a pod is to reach itself. */
  if (object.hairpin && !link.port.hairpin) return differs(object.name, "hairpin mode", "on", "off");
  if (link.port.isolated !== object.isolated) {
    return differs(object.name, "isolation", onOff(object.isolated), onOff(link.port.isolated));
  }
  return object.vlans === null ? null : differenceInVlans(kernel, object, link.index);
}

function differenceInVlans(kernel: Kernel, object: PortObject, index: number): string | null {
  const found = listPortVlans(kernel.host, index);
  for (const range of object.vlans ?? []) {
    for (let id = range.first; id <= range.last; id += 1) {
      const entry = found.find((vlan) => vlan.first === id);
      if (entry === undefined) return `${object.name} is not in VLAN ${id}`;
      if (entry.pvid !== range.pvid || entry.untagged !== range.untagged) {
        return `${object.name} has VLAN ${id} ${entry.untagged ? "untagged" : "tagged"}, expected ${range.untagged ? "untagged" : "tagged"}`;
      }
    }
  }
  const wanted = (id: number): boolean => (object.vlans ?? []).some((range) => range.first <= id && id <= range.last);
  const extra = found.find((vlan) => !wanted(vlan.first));
  return object.dropDefaultVlan && extra !== undefined ? `${object.name} is in VLAN ${extra.first} too` : null;
}

function differs(link: string, what: string, expected: string, found: string): string {
  return `${link} has ${what} ${found}, expected ${expected}`;
}

function onOff(value: boolean): string {
  return value ? "on" : "off";
}
