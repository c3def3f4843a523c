/** The gateway of a VLAN: a veth pair on the host, one end in the bridge and in the VLAN, the other with the address. */
import { formatMac } from "../../ip/mac.ts";
import { writePort } from "../../netlink/bridge-port.ts";
import { getLinkByName, writeNewVeth } from "../../netlink/link.ts";
import { NetlinkError } from "../../netlink/socket.ts";
import { DEFAULT_VLAN, writePortVlans } from "../../netlink/vlan.ts";
import { EEXIST } from "../../sys/errno.ts";
import { shellWord } from "../../text.ts";
import type { Kernel } from "../kernel.ts";
import { Kind } from "../kind.ts";
import { nodeMac } from "../names.ts";

/** The gateway's own link where a VLAN is in use: a veth pair on the host with one end in the bridge. Shared, like the bridge. */
export interface VlanGatewayObject {
  readonly kind: "vlan-gateway";
  readonly name: string;
  readonly portName: string;
  readonly alias: string;
  readonly bridge: string;
  readonly mtu: number;
  readonly vlan: number;
}

export class VlanGatewayKind extends Kind {
  readonly #object: VlanGatewayObject;

  constructor(object: VlanGatewayObject) {
    super();
    this.#object = object;
  }

  override describe(): string {
    return `make ${this.#object.name}, the gateway of VLAN ${this.#object.vlan}`;
  }

  override commands(_netns: string): string[] {
    const { name, portName, alias, bridge, mtu, vlan } = this.#object;
    const size = mtu > 0 ? ` mtu ${mtu}` : "";
    return [
      `ip link add ${shellWord(portName)} address ${formatMac(nodeMac(portName))}${size} master ${shellWord(bridge)}` +
        ` type veth peer name ${shellWord(name)} address ${formatMac(nodeMac(name))}${size}`,
      `ip link set ${shellWord(portName)} up alias ${shellWord(alias)}`,
      `bridge vlan delete dev ${shellWord(portName)} vid ${DEFAULT_VLAN.first}`,
      `bridge vlan add dev ${shellWord(portName)} vid ${vlan} pvid untagged`,
    ];
  }

  override isThere(kernel: Kernel): boolean {
    return getLinkByName(kernel.host, this.#object.name) !== null;
  }

  override make(kernel: Kernel): void {
    applyVlanGateway(kernel, this.#object);
  }

  override difference(kernel: Kernel): string | null {
    return differenceInVlanGateway(kernel, this.#object);
  }
}

/** Makes the pair if it is missing. Everything here may be done twice, by two calls at once. */
function applyVlanGateway(kernel: Kernel, object: VlanGatewayObject): void {
  writeNewVeth(kernel.host, {
    name: object.portName,
    mac: nodeMac(object.portName),
    mtu: object.mtu,
    group: 0,
    master: kernel.index("host", object.bridge),
    peerName: object.name,
    peerMac: nodeMac(object.name),
    peerNamespaceFd: -1,
  });
  const errno = kernel.host.attempt();
  if (errno !== 0 && errno !== EEXIST) throw new NetlinkError(errno, "", 0);
  const port = kernel.index("host", object.portName);
  writePort(kernel.host, port, object.alias, false, false);
  kernel.host.run();
  writePortVlans(kernel.host, port, [DEFAULT_VLAN], false);
  writePortVlans(kernel.host, port, [{ first: object.vlan, last: object.vlan, pvid: true, untagged: true }], true);
  kernel.host.run();
}

/** What is different about the VLAN's gateway; null if nothing is. */
function differenceInVlanGateway(kernel: Kernel, object: VlanGatewayObject): string | null {
  const link = getLinkByName(kernel.host, object.name);
  if (link === null) return `${object.name}, the gateway of VLAN ${object.vlan}, is missing`;
  return link.up ? null : `${object.name}, the gateway of VLAN ${object.vlan}, is down`;
}
